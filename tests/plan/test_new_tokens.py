"""Added tokens in the prediction: rows of embedding and head, trained in float32, and larger logits."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from helpers.small_runs import Runs
from safetensors.torch import load_file

from semalign_pl.plan.meta_policy import encoder_bytes
from semalign_pl.plan.predict import predict
from semalign_pl.plan.recipe import settings_of
from semalign_pl.plan.settings import Settings
from semalign_pl.policy.settings import LoraSettings

HIDDEN, NEW = 64, 100  # the fixture's base shares one matrix between head and embedding


@pytest.mark.parametrize("with_reference", [False, True])
def test_bytes_by_hand(base: str, with_reference: bool) -> None:
    without = Settings(base, "sft", "fp32", LoraSettings(4, 8, 0.0), with_reference, 20, 10, 4, 1, 1, 120)
    plain, extended = predict(without), predict(replace(without, new_tokens=NEW))
    rows = NEW * HIDDEN * 4
    assert extended.weights - plain.weights == rows
    assert (plain.replaced, extended.replaced) == (0, 400 * HIDDEN * 4)  # the old matrix, in the mapped file
    for change in ({"cuda": True}, {"weights": "bf16"}):  # copied to the card, or to another precision
        assert predict(replace(without, new_tokens=NEW, **change)).replaced == 0
    assert extended.adapters - plain.adapters == rows * (2 if with_reference else 1)
    assert extended.optimiser - plain.optimiser == 2 * rows and extended.gradients - plain.gradients == rows
    assert extended.head - plain.head == 3 * 4 * 120 * NEW


def test_read_from_a_recipe_and_from_an_adapter(runs: Runs, tmp_path: Path) -> None:
    corpus = tmp_path / "text.txt"
    corpus.write_text("ཁྲིམས་ཀྱི་མདུན་སར། ཁྲིམས་ལུགས།\n" * 5, encoding="utf-8")
    given = json.dumps({"language": "bo", "corpus": str(corpus), "column": "bo", "tokens": 4})
    with_option = runs.args("fit", "sft", "cold", f"model.init_args.vocabulary={given}", "trainer.max_steps=1")
    assert settings_of(with_option[1:]).new_tokens == 4
    runs("fit", "sft", "cold", f"model.init_args.vocabulary={given}", "trainer.max_steps=1")
    adapter = [f"model.init_args.adapter={runs.folder / 'cold/adapter'}", "model.init_args.lora=null"]
    assert settings_of(runs.args("fit", "sft", "on", *adapter)[1:]).new_tokens == 4
    assert settings_of(runs.args("fit", "sft", "plain")[1:]).new_tokens == 0


def test_an_encoder_of_token_vectors_is_counted_by_its_files(tmp_path: Path) -> None:
    """As EmbedderModule trains one from scratch: the folder has no transformer, so no config of one."""
    from embedder import make_start

    make_start(tmp_path / "encoder", ["བོད་ཡིག བོད་སྐད", "老师 学生"] * 4, vocabulary=40, dimensions=8)
    saved = load_file(tmp_path / "encoder" / "model.safetensors")
    assert encoder_bytes(str(tmp_path / "encoder"), 4) == sum(4 * one.numel() for one in saved.values()) > 0
