"""The judge's probability against the paper's formula, and cutting against trying all lengths."""

import math

import pytest
import torch

from semalign_pl.functional.judgement import longest_prefix, yes_probability


@pytest.mark.parametrize(("yes", "no"), [(0.0, 0.0), (1.5, -0.5), (-3.0, 2.0), (8.0, 8.1)])
def test_the_papers_formula(yes: float, no: float) -> None:
    expected = math.exp(yes) / (math.exp(yes) + math.exp(no))
    assert yes_probability(torch.tensor([yes, no])).item() == pytest.approx(expected, rel=1e-6)


def test_large_logits_and_half_precision() -> None:
    logits = torch.tensor([[300.0, 200.0], [-300.0, 300.0], [float("nan"), 0.0]], dtype=torch.bfloat16)
    out = yes_probability(logits)
    assert out.dtype == torch.float32 and out[:2].tolist() == [1.0, 0.0] and out[2].isnan()


def test_the_longest_beginning_that_fits() -> None:
    text = "ab" * 20
    for limit in range(50):
        longest = max((n for n in range(len(text) + 1) if 3 + n <= limit), default=0)
        assert longest_prefix(text, lambda part: 3 + len(part), limit) == text[:longest]


def test_a_cost_with_dips_keeps_the_limit() -> None:
    """Tokens may merge: one more character, one token fewer."""
    for limit in range(1, 14):
        kept = longest_prefix("x" * 30, lambda part: len(part) // 2 + len(part) % 3, limit)
        assert len(kept) // 2 + len(kept) % 3 <= limit and len(kept) >= 2 * (limit - 3)
