"""Drift probe, against plain Hugging Face losses of base and adapter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from helpers.tiny import CPU, stir

from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.probes import DriftProbe


def load(base: str) -> Policy:
    torch.manual_seed(0)
    return load_policy(base, "fp32", LoraSettings(4, 8, 0.5), None, CPU)


def measured(probe: DriftProbe, policy: Policy):
    with policy.inference():
        return probe.measure(policy)


def test_a_fresh_adapter_has_not_drifted_at_all(base: str, corpus: Path) -> None:
    scores = measured(DriftProbe(str(corpus / "text.txt")), load(base))
    assert {name: score.value for name, score in scores.items()} == dict.fromkeys(
        ("nll_change_mean", "nll_change_p90", "kl_mean", "kl_p90"), 0.0
    )
    assert all("|texts:6|max_tokens:512|cut:0|against:base" in score.signature for score in scores.values())


def test_a_moved_adapter_against_plain_losses(base: str, corpus: Path) -> None:
    from transformers import AutoModelForCausalLM

    policy = stir(load(base), seed=2, scale=0.3)
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32).eval()
    merged = stir(load(base), seed=2, scale=0.3).model.merge_and_unload().eval()
    change, divergence = [], []
    for line in (corpus / "text.txt").read_text(encoding="utf-8").splitlines():
        ids = torch.tensor([policy.encoder.tokenizer(line)["input_ids"]])
        with torch.no_grad():
            before, after = plain(input_ids=ids, labels=ids), merged(input_ids=ids, labels=ids)
        change += [(after.loss - before.loss).item()] * (ids.shape[1] - 1)
        p, q = after.logits[0, :-1].log_softmax(-1), before.logits[0, :-1].log_softmax(-1)
        divergence += (p.exp() * (p - q)).sum(-1).tolist()
    scores = measured(DriftProbe(str(corpus / "text.txt")), policy)
    assert abs(sum(change) / len(change)) > 0.01
    assert scores["nll_change_mean"].value == pytest.approx(sum(change) / len(change), abs=1e-4)
    assert scores["kl_mean"].value == pytest.approx(sum(divergence) / len(divergence), rel=1e-3)
    p90 = torch.tensor(divergence).quantile(0.9).item()
    assert scores["kl_p90"].value == pytest.approx(p90, rel=0.1) and scores["kl_p90"].value > scores["kl_mean"].value


def test_long_lines_are_cut_and_counted(base: str, corpus: Path) -> None:
    policy = stir(load(base), seed=2)
    lines = (corpus / "text.txt").read_text(encoding="utf-8").splitlines()[:4]
    assert min(len(policy.encoder.tokenizer(line)["input_ids"]) for line in lines) > 2
    cut = measured(DriftProbe(str(corpus / "text.txt"), limit=4, max_tokens=2), policy)
    assert "|texts:4|max_tokens:2|cut:4|" in cut["kl_mean"].signature
    whole = measured(DriftProbe(str(corpus / "text.txt"), limit=4), policy)
    assert cut["kl_mean"].value != whole["kl_mean"].value


@pytest.mark.parametrize(
    ("content", "wanted"),
    [(b"\xff\xfe\x00", "is not UTF-8 text.*convert it"), (b" \n\n", "holds no text; give one text a line")],
)
def test_file_errors(tmp_path: Path, content: bytes, wanted: str) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"DriftProbe.file: {re.escape(str(path))} {wanted}"):
        DriftProbe(str(path))
    with pytest.raises(ValueError, match="DriftProbe.file: there is no file .*none.txt; check the path"):
        DriftProbe(str(tmp_path / "none.txt"))
    with pytest.raises(ValueError, match="DriftProbe.every_n_steps: 0 is not a positive number"):
        DriftProbe(str(path), every_n_steps=0)
