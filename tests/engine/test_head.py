"""Chunked head, against the full table of logits."""

import pytest
import torch
from helpers.tiny import relative
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from semalign_pl.engine import head as heads
from semalign_pl.engine.head import head_logprobs, linear_logprobs
from semalign_pl.functional.logprobs import entropy, selected_logprobs

TOKENS, HIDDEN, VOCABULARY = 11, 6, 40
COOL = torch.linspace(0.5, 1.0, TOKENS)


def draw(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(len(shape) + shape[0]))


@pytest.fixture(params=[1, 3, 100], autouse=True)
def chunks(request, monkeypatch) -> None:
    """Chunks of one token, of three (the last is partial), and of all tokens."""
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", request.param * VOCABULARY)


@pytest.mark.parametrize("with_bias", [False, True])
def test_linear_head(with_bias: bool) -> None:
    hidden, weight, ids = draw(TOKENS, HIDDEN).requires_grad_(), draw(VOCABULARY, HIDDEN), torch.arange(TOKENS) * 3
    bias = draw(VOCABULARY) if with_bias else None
    above = draw(TOKENS)
    logits = torch.nn.functional.linear(hidden, weight, bias) / COOL.unsqueeze(1)
    expected = selected_logprobs(logits, ids)
    (slope,) = torch.autograd.grad(expected, hidden, above)
    logps, spread = linear_logprobs(hidden, weight, bias, ids, COOL)
    torch.testing.assert_close(logps, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(spread, entropy(logits.detach()), atol=1e-6, rtol=1e-6)
    assert not spread.requires_grad
    assert relative(torch.autograd.grad(logps, hidden, above)[0], slope) < 1e-6


@pytest.mark.parametrize("first", [0, 12, VOCABULARY - 5])
@pytest.mark.parametrize("frozen_below", [False, True])
def test_trained_rows_in_place_of_the_heads_own(first: int, frozen_below: bool) -> None:
    hidden, weight, rows = draw(TOKENS, HIDDEN), draw(VOCABULARY, HIDDEN), draw(5, HIDDEN).requires_grad_()
    hidden.requires_grad_(not frozen_below)
    ids, above = torch.arange(TOKENS) + first - 3 * (first > 20), draw(TOKENS)  # some are trained rows, some are not
    whole = torch.cat([weight[:first], rows, weight[first + 5 :]])
    expected = selected_logprobs(hidden @ whole.t() / COOL.unsqueeze(1), ids % VOCABULARY)
    inputs = [rows] if frozen_below else [rows, hidden]
    slopes = torch.autograd.grad(expected, inputs, above)
    logps, spread = linear_logprobs(hidden, weight, None, ids % VOCABULARY, COOL, rows, first)
    torch.testing.assert_close(logps, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(spread, entropy(hidden @ whole.t() / COOL.unsqueeze(1)).detach(), atol=1e-6, rtol=1e-6)
    for mine, slope in zip(torch.autograd.grad(logps, inputs, above), slopes, strict=True):
        assert relative(mine, slope) < 2e-6


def test_trained_rows_under_autocast() -> None:
    """Computed in bfloat16 and stored in float32: the gradient equals plain autograd's, up to bfloat16 rounding."""
    hidden, weight, rows = draw(TOKENS, 64), draw(VOCABULARY, 64) / 8, (draw(5, 64) / 8).requires_grad_()
    ids, above = torch.arange(TOKENS), draw(TOKENS)
    with torch.autocast("cpu", torch.bfloat16):
        logits = torch.nn.functional.linear(hidden, torch.cat([weight[:3], rows, weight[8:]])).float()
        logps, _ = linear_logprobs(hidden, weight, None, ids, COOL, rows, 3)
    (slope,) = torch.autograd.grad(selected_logprobs(logits / COOL.unsqueeze(1), ids), rows, above)
    assert relative(torch.autograd.grad(logps, rows, above)[0], slope) < 1e-2


def test_the_entropy_is_not_rounded_under_autocast() -> None:
    hidden, weight, ids = draw(TOKENS, 64).bfloat16(), draw(VOCABULARY, 64).bfloat16() / 8, torch.arange(TOKENS)
    plain = linear_logprobs(hidden, weight, None, ids, COOL)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = linear_logprobs(hidden, weight, None, ids, COOL)
    for mine, expected in zip(mixed, plain, strict=True):
        torch.testing.assert_close(mine, expected, atol=1e-6, rtol=1e-6)


def test_any_head_also_a_trained_one() -> None:
    layer = torch.nn.Linear(HIDDEN, VOCABULARY)
    hidden, ids, above = draw(TOKENS, HIDDEN).requires_grad_(), torch.arange(TOKENS) * 3, draw(TOKENS)

    def capped(x: Tensor) -> Tensor:
        return torch.tanh(layer(x) / 2) * 2

    inputs = [hidden, layer.weight, layer.bias]
    cool = COOL.unsqueeze(1)
    expected = selected_logprobs(capped(hidden) / cool, ids)
    slopes = torch.autograd.grad(expected, inputs, above)
    logps, spread = head_logprobs(capped, VOCABULARY, hidden, ids, COOL)
    torch.testing.assert_close(logps, expected, atol=1e-6, rtol=1e-6)
    torch.testing.assert_close(spread, entropy(capped(hidden).detach() / cool), atol=1e-6, rtol=1e-6)
    for mine, slope in zip(torch.autograd.grad(logps, inputs, above), slopes, strict=True):
        assert relative(mine, slope) < 1e-6


def test_no_gradient_is_prepared_when_none_is_wanted() -> None:
    hidden, weight = draw(TOKENS, HIDDEN), draw(VOCABULARY, HIDDEN)
    logps, _ = linear_logprobs(hidden, weight, None, torch.arange(TOKENS), COOL)
    assert not logps.requires_grad


def test_a_token_the_head_excludes() -> None:
    """A bias of -inf (a padded vocabulary) causes no NaN in the entropy or the gradient."""
    hidden, weight = draw(TOKENS, HIDDEN).requires_grad_(), draw(VOCABULARY, HIDDEN)
    bias = torch.zeros(VOCABULARY)
    bias[-4:] = float("-inf")
    logps, spread = linear_logprobs(hidden, weight, bias, torch.arange(TOKENS), COOL)
    expected, _ = linear_logprobs(hidden, weight[:-4], None, torch.arange(TOKENS), COOL)
    torch.testing.assert_close(logps, expected, atol=1e-6, rtol=1e-6)
    assert spread.isfinite().all() and torch.autograd.grad(logps.sum(), hidden)[0].isfinite().all()


class Largest(TorchDispatchMode):
    """Number of elements of the largest tensor that any operation makes."""

    elements = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self.elements = max(self.elements, leaf.numel())
        return out


def test_no_table_of_tokens_by_vocabulary_is_ever_made(monkeypatch) -> None:
    monkeypatch.setattr(heads, "CHUNK_ELEMENTS", 2 * VOCABULARY)
    weight, ids = draw(VOCABULARY, HIDDEN), torch.arange(TOKENS) * 3

    def layer(x: Tensor) -> Tensor:
        return torch.nn.functional.linear(x, weight)

    for scored in (
        lambda hidden: linear_logprobs(hidden, weight, None, ids, COOL),
        lambda hidden: head_logprobs(layer, VOCABULARY, hidden, ids, COOL),
    ):
        hidden = draw(TOKENS, HIDDEN).requires_grad_()
        with Largest() as seen:
            scored(hidden)[0].sum().backward()
        assert seen.elements <= max(2 * VOCABULARY, weight.numel()) < TOKENS * VOCABULARY
