"""Fixtures shared by the tests of the embedder."""

import json
import shutil

import pytest


@pytest.fixture(scope="session")
def still(encoder, tmp_path_factory) -> str:
    """The fixture's encoder without dropout."""
    folder = tmp_path_factory.mktemp("still") / "encoder"
    shutil.copytree(encoder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return str(folder)
