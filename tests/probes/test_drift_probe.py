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
from semalign_pl.probes import DriftProbe, drift
from semalign_pl.types import Measurement, MetricResult


def load(base: str) -> Policy:
    torch.manual_seed(0)
    return load_policy(base, "fp32", LoraSettings(4, 8, 0.5), None, CPU)


def measurement(probe: DriftProbe, policy: Policy) -> Measurement:
    with policy.inference():
        return probe.measure(policy)


def measured(probe: DriftProbe, policy: Policy) -> dict[str, MetricResult]:
    return measurement(probe, policy).scores


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


def test_texts_in_several_batches(
    base: str, corpus: Path, forwards: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """In batches by length, and in slices of few tokens: the same items, in the order of the file."""
    policy = stir(load(base), seed=2)
    whole = measurement(DriftProbe(str(corpus / "text.txt"), max_tokens=5), policy)
    monkeypatch.setattr(drift, "_TOKENS", 8)
    monkeypatch.setattr(drift, "_SLICE", 2)
    monkeypatch.setattr(drift, "CHUNK_ELEMENTS", 3 * policy.causal_lm.config.vocab_size)
    forwards.clear()
    split = measurement(DriftProbe(str(corpus / "text.txt"), max_tokens=5), policy)
    assert len(forwards) >= 6
    assert [item.id for item in split.items] == [item.id for item in whole.items]
    for one, other in zip(split.items, whole.items, strict=True):
        for name, (total, tokens) in one.statistics.items():
            assert tokens == other.statistics[name][1]
            assert total == pytest.approx(other.statistics[name][0], abs=2e-6 * tokens)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [(b"\xff\xfe\x00", "is not UTF-8 text.*convert it"), (b" \n\n", "holds no text; give one text per line")],
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


def test_a_text_ends_at_the_end_of_its_line_only(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("one\u2028same text\r\n\ntwo\x0csame text\x85\n".encode())
    probe = DriftProbe(str(path))
    assert dict(zip(probe.ids, probe.texts, strict=True)) == {
        "text.txt:1": "one\u2028same text",
        "text.txt:3": "two\x0csame text\x85",
    }


# -- states of the base -------------------------------------------------------------------------------------------


@pytest.fixture
def forwards(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Forwards of the decoder of any policy: true for the base."""
    from transformers.models.qwen3.modeling_qwen3 import Qwen3Model

    calls: list[bool] = []
    forward = Qwen3Model.forward

    def noted(self: torch.nn.Module, *args, **options):  # noqa: ANN002, ANN003, ANN202
        calls.append(next(m._disable_adapters for m in self.modules() if hasattr(m, "_disable_adapters")))
        return forward(self, *args, **options)

    monkeypatch.setattr(Qwen3Model, "forward", noted)
    return calls


def test_the_base_is_run_once_for_many_adapters(base: str, corpus: Path, forwards: list[bool]) -> None:
    policy, probe = stir(load(base), seed=2), DriftProbe(str(corpus / "text.txt"))
    forwards.clear()
    first = measurement(probe, policy)
    assert forwards == [False, True]  # all six texts at once
    forwards.clear()
    assert measurement(probe, policy) == first  # to the last bit
    assert forwards == [False]
    stir(policy, seed=3)  # another adapter on the same base
    assert measurement(probe, policy) == measurement(DriftProbe(str(corpus / "text.txt")), policy) != first


def test_a_base_that_was_moved_is_not_run_again(base: str, corpus: Path, forwards: list[bool]) -> None:
    """As after a test on a GPU: the weights are elsewhere, and their values are the same."""
    policy, probe = stir(load(base), seed=2), DriftProbe(str(corpus / "text.txt"))
    first = measurement(probe, policy)
    for weight in policy.parameters():
        weight.data = weight.data.clone()
    forwards.clear()
    assert measurement(probe, policy) == first and forwards == [False]


@pytest.mark.parametrize("in_place", [True, False])
def test_another_base_is_run_again(base: str, corpus: Path, in_place: bool) -> None:
    policy, probe = stir(load(base), seed=2), DriftProbe(str(corpus / "text.txt"))
    first = measurement(probe, policy)
    with torch.no_grad():
        weight = next(w for n, w in policy.named_parameters() if n.endswith("mlp.up_proj.base_layer.weight"))
        if in_place:
            weight[0, 1] += 1
        else:
            weight.data = weight.data * 1.5
    changed = measurement(probe, policy)
    assert changed == measurement(DriftProbe(str(corpus / "text.txt")), policy) != first
    assert measurement(probe, stir(load(base), seed=2)) == first  # a policy loaded anew
