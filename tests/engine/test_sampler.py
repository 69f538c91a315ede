"""Tokens from the most likely candidates are those of transformers' warpers over the sorted vocabulary."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from semalign_pl.engine import sampler
from semalign_pl.engine.sampler import TruncatedSampler, inverse_cdf, make_sampler

VOCABULARY, ROWS = 2000, 4000
OPTIONS = [
    {"top_p": 0.9},
    {"top_p": 0.5, "min_p": 0.05},
    {"top_p": 0.95, "top_k": 50},
    {"top_k": 20, "min_p": 0.1},
    {"min_p": 0.02},
]


def normal(spread: float) -> Tensor:
    return spread * torch.randn(ROWS, VOCABULARY)


def one_hot() -> Tensor:
    return normal(1.0).index_fill(1, torch.tensor([7]), 40.0)


def impossible() -> Tensor:
    """All but a few tokens have a logit of -inf."""
    return (
        normal(2.0)
        .masked_fill(torch.rand(ROWS, VOCABULARY) > 0.01, float("-inf"))
        .index_fill(1, torch.tensor([3]), 0.0)
    )


def ties() -> Tensor:
    """Few different logits, so that equal ones are on both sides of every border."""
    return (normal(2.0) * 2).round() / 2


def zipf() -> Tensor:
    ranks = torch.arange(1, VOCABULARY + 1).log()
    return -torch.stack([s * ranks[torch.randperm(VOCABULARY)] for s in torch.linspace(0.8, 3.0, ROWS)])


def on_the_border() -> Tensor:
    """Probabilities whose sums are exactly the nucleus: ten tokens of 0.1, and others of almost nothing."""
    return normal(0.0).fill_(-30.0).index_fill(1, torch.arange(0, 200, 20), 0.0)


def equal_tail() -> Tensor:
    """Ten tokens, and all others equally likely: more than there are candidates, and together nearly as likely."""
    return normal(0.0).fill_(-4.5).index_fill(1, torch.arange(0, 200, 20), 0.0)


KINDS = {
    "flat": lambda: normal(0.1), "usual": lambda: normal(1.5), "peaked": lambda: normal(5.0), "zipf": zipf,
    "one hot": one_hot, "-inf": impossible, "ties": ties, "border": on_the_border,
    "equal tail": equal_tail, "bfloat16": lambda: normal(4.0).bfloat16(),
}  # fmt: skip


def warped(logits: Tensor, uniforms: Tensor, temperature: float, **options: float) -> Tensor:
    """The oracle: transformers' warpers in its order, and the inverse of the whole cumulative distribution."""
    from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    scores, kinds = logits.float() / temperature, {"top_k": TopKLogitsWarper, "top_p": TopPLogitsWarper}
    for name, kind in {**kinds, "min_p": MinPLogitsWarper}.items():
        scores = kind(options[name])(None, scores) if name in options else scores
    return inverse_cdf(scores.softmax(-1), uniforms)


@pytest.mark.parametrize("kind", KINDS)
def test_same_ids_as_the_sorted_vocabulary(monkeypatch, kind: str) -> None:
    """Ten kinds of distribution with five settings: 200,000 draws, with fewer candidates than a nucleus may need."""
    monkeypatch.setattr(sampler, "CANDIDATES", (64, 512))
    monkeypatch.setattr(sampler, "SORTED_ELEMENTS", 300 * VOCABULARY)
    torch.manual_seed(len(kind))
    logits, uniforms = KINDS[kind](), torch.rand(ROWS)
    uniforms[:3] = torch.tensor([0.0, 1 - 2**-24, 1.0])
    before = logits.clone()
    for options in OPTIONS:
        found = make_sampler(0.8, **options)(logits, uniforms)
        differ = (found != warped(logits, uniforms, 0.8, **options)).nonzero().flatten()
        assert not len(differ), (options, differ.tolist())
    assert torch.equal(logits, before)


def test_only_rows_that_need_it_are_sorted(monkeypatch) -> None:
    torch.manual_seed(0)
    logits = torch.cat([5 * torch.randn(30, 20000), torch.zeros(2, 20000)])
    choose, sorted_rows = make_sampler(1.0, 0.9), []
    whole = TruncatedSampler.sort

    def count(self: TruncatedSampler, rows: Tensor, uniforms: Tensor) -> Tensor:
        sorted_rows.append(len(rows))
        return whole(self, rows, uniforms)

    monkeypatch.setattr(TruncatedSampler, "sort", count)
    choose(logits, torch.rand(32))
    assert 2 <= sum(sorted_rows) <= 4


@pytest.mark.parametrize("options", [{}, {"top_p": 0.9}])
def test_numbers_that_are_not_finite_give_what_the_whole_distribution_gives(options: dict) -> None:
    logits = torch.randn(3, 3000)
    logits[1, 5] = float("nan")
    uniforms = torch.tensor([0.2, 0.5, 0.7])
    found, expected = make_sampler(1.0, **options)(logits, uniforms), warped(logits, uniforms, 1.0, **options)
    assert torch.equal(found, expected)
