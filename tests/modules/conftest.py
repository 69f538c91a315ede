"""Models shared by the tests of modules."""

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


@pytest.fixture(scope="session")
def peaked(base, tmp_path_factory) -> str:
    """The random base with 30 times its logits: it prefers some tokens, so that weights of tokens differ."""
    from transformers import AutoModelForCausalLM

    folder = tmp_path_factory.mktemp("peaked") / "base"
    shutil.copytree(base, folder)
    model = AutoModelForCausalLM.from_pretrained(base)
    model.model.norm.weight.data.mul_(30)
    model.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def peaked_adapter(peaked, sft_adapter, tmp_path_factory) -> str:
    """The SFT adapter, as one of the base with larger logits."""
    folder = tmp_path_factory.mktemp("peaked") / "adapter"
    shutil.copytree(sft_adapter, folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": peaked}))
    return str(folder)
