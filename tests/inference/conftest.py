"""A finished run of the tiny model: GRPO from a cold start, without training either."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.tiny import CPU, stir

from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.load import load_policy


@pytest.fixture(scope="session")
def run(base, encoder, corpus, sft_adapter, tmp_path_factory) -> Path:
    """Folder of the run; its cold start is ``sft_adapter``, and its adapter is another one."""
    folder = tmp_path_factory.mktemp("used") / "run"
    folder.mkdir()
    export_adapter(stir(load_policy(base, "fp32", None, sft_adapter, CPU), seed=6, scale=0.2), folder / "adapter")
    model: dict[str, Any] = {"base": base, "weights": "fp32", "adapter": sft_adapter, "max_new_tokens": 12}
    model |= {"max_prompt_tokens": 200}
    data = {
        "train": str(corpus / "train.jsonl"),
        "test": str(corpus / "dev.jsonl"),
        "eval_batch_size": 3,
        "prepare": {},
    }
    reward = {"class_path": "SemanticReward", "init_args": {"encoder": encoder, "tau": -0.5}}
    recipe = {
        "model": {"class_path": "GRPOModule", "init_args": model},
        "data": {"class_path": "CorpusDataModule", "init_args": data},
        "trainer": {"accelerator": "cpu", "default_root_dir": str(folder), "callbacks": [reward]},
    }
    (folder / "fit.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    return folder


@pytest.fixture
def own_run(run, tmp_path) -> Path:
    """Copy of the run that a test may change."""
    return Path(shutil.copytree(run, tmp_path / "run"))
