"""Attention to a shared prompt, against plain attention with the prompt repeated before every row."""

import pytest
import torch
from helpers.tiny import relative
from torch import Tensor

from semalign_pl.engine.attention import shared_prompt_attention

GROUPS, ROWS, HEADS, TOKENS, PROMPT, DIM, SCALE = 2, 3, 4, 5, 7, 8, 0.3


def inputs(kv_heads: int, own: int = TOKENS) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [
        (GROUPS, ROWS, HEADS, TOKENS, DIM),
        (GROUPS, kv_heads, PROMPT, DIM),
        (GROUPS, kv_heads, PROMPT, DIM),
        (GROUPS, ROWS, kv_heads, own, DIM),
        (GROUPS, ROWS, kv_heads, own, DIM),
    ]
    return [torch.randn(shape, generator=generator).requires_grad_() for shape in shapes]


def plain(query: Tensor, pk: Tensor, pv: Tensor, key: Tensor, value: Tensor, prompt_bias, bias) -> Tensor:
    times = HEADS // pk.shape[1]

    def joined(prompt: Tensor, own: Tensor) -> Tensor:
        return torch.cat([prompt.unsqueeze(1).expand(-1, ROWS, -1, -1, -1), own], 3).repeat_interleave(times, 2)

    both = torch.cat([prompt_bias.expand(GROUPS, ROWS, TOKENS, PROMPT), bias.expand(GROUPS, ROWS, TOKENS, -1)], -1)
    scores = query @ joined(pk, key).mT * SCALE + both.unsqueeze(2)
    return scores.softmax(-1) @ joined(pv, value)


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("own", [TOKENS, 9])
def test_equals_attention_over_a_repeated_prompt(kv_heads: int, own: int) -> None:
    prompt_bias = torch.zeros(GROUPS, 1, 1, PROMPT)
    prompt_bias[1, :, :, 4:] = float("-inf")  # a shorter prompt
    later = torch.ones(TOKENS, own, dtype=torch.bool).triu(own - TOKENS + 1)
    bias = torch.zeros(TOKENS, own).masked_fill(later, float("-inf"))[None, None]
    tensors = inputs(kv_heads, own)
    ours, theirs = shared_prompt_attention(*tensors, SCALE, prompt_bias, bias), plain(*tensors, prompt_bias, bias)
    torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
    above = torch.randn(ours.shape, generator=torch.Generator().manual_seed(1))
    for mine, expected in zip(
        torch.autograd.grad(ours, tensors, above), torch.autograd.grad(theirs, tensors, above), strict=True
    ):
        assert expected.norm() > 0.1 and relative(mine, expected) < 1e-6


def test_a_query_that_sees_nothing_of_its_prompt() -> None:
    tensors = inputs(2)
    nothing = torch.full((GROUPS, 1, 1, PROMPT), float("-inf"))
    none = torch.zeros(1, 1, 1, TOKENS)
    ours = shared_prompt_attention(*tensors, SCALE, nothing)
    torch.testing.assert_close(ours, plain(*tensors, nothing, none), atol=1e-6, rtol=0)
    gradients = torch.autograd.grad(ours.sum(), tensors)
    assert all(gradient.isfinite().all() for gradient in gradients) and gradients[1].abs().sum() == 0


def test_low_precision_keeps_its_dtype_and_a_float32_softmax() -> None:
    exact = inputs(2)
    rounded = [tensor.detach().bfloat16() for tensor in exact]
    ours = shared_prompt_attention(*rounded, SCALE)
    zero = torch.zeros(1, 1, 1, 1)
    expected = plain(*[tensor.float() for tensor in rounded], zero, torch.zeros(1, 1, 1, TOKENS))
    assert ours.dtype == torch.bfloat16 and relative(ours.float(), expected) < 0.01
