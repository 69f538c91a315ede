"""Settings of the recipes that ``semalign init`` writes: they fit the card, by the package's own prediction."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import cards
import pytest
import yaml
from helpers.pairs import PAIRS

from semalign_pl.__main__ import main
from semalign_pl.plan.command import available_bytes
from semalign_pl.plan.encoder import embedder_peak
from semalign_pl.plan.meta_policy import encoder_bytes
from semalign_pl.plan.predict import predict, validation_peak
from semalign_pl.plan.recipe import settings_of

LABSE = {"hidden_size": 768, "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
         "vocab_size": 501_153}  # fmt: skip
"""Widths of LaBSE, from its config.json."""


@pytest.mark.slow
def test_training_and_validation_of_every_recipe_fit(tmp_path, base, monkeypatch, capsys) -> None:
    """Long pairs, with the widths of Qwen3-4B and LaBSE; models are configs without weights."""
    from transformers import BertConfig

    monkeypatch.chdir(tmp_path)
    cards.recipe("sft", "qwen3-4b", tmp_path)
    BertConfig(**LABSE).save_pretrained("labse")
    for folder in ("qwen3-4b", "labse"):
        for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(Path(base) / name, folder)
    long = [{code: "".join(PAIRS[(i + k) % len(PAIRS)][code] for k in range(20)) for code in ("zh", "bo")}
            for i in range(len(PAIRS))]  # fmt: skip
    Path("my.jsonl").write_text("".join(json.dumps(row) + "\n" for row in long), encoding="utf-8")
    capsys.readouterr()
    assert main(["init", "my.jsonl", "--base", "qwen3-4b", "--encoder", "labse", "--memory", "12GiB"]) == 0
    printed = float(re.search(r"predicted peak ([\d.]+) GiB", capsys.readouterr().out)[1])
    room, peaks = available_bytes(12 * 2**30, cuda=True), []
    for name, bytes_each in {"cold_start": 4, "sft": 4, "keep": 4, "grpo": 6}.items():  # GRPO's reward has 2 of them
        settings, of_encoder = settings_of(["--config", f"my/{name}.yaml"]), encoder_bytes("labse", bytes_each)
        peaks += [predict(settings).peak + of_encoder, validation_peak(settings) + of_encoder]
        if settings.with_reference:  # as all stages are planned
            more = replace(settings, validation_rows=2 * settings.validation_rows)
            assert settings.validation_rows < 64 and validation_peak(more) + of_encoder > room, "it is the largest"
    embedder = yaml.safe_load(Path("my/embedder.yaml").read_text(encoding="utf-8"))["model"]["init_args"]
    peaks.append(embedder_peak("labse", embedder["micro_batch"], embedder["max_seq_length"]))
    assert max(peaks) <= room and printed >= round(max(peaks) / 2**30, 1)
