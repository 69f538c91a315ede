"""Attention of several completions over a prompt that they share, without repeating the prompt's keys and values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def shared_prompt_attention(
    query: Tensor,
    prompt_key: Tensor,
    prompt_value: Tensor,
    key: Tensor,
    value: Tensor,
    scale: float,
    prompt_bias: Tensor | None = None,
    bias: Tensor | None = None,
) -> Tensor:
    """Softmax attention over the prompt's keys and a completion's own, as if they stood one after another.

    The softmax runs over both parts, but the parts are never joined: the prompt's keys meet the queries of all
    completions of a group in one matrix product. Backward keeps inputs, output and log-sum-exp, and computes the
    probabilities anew (FlashAttention, arXiv 2205.14135, section 3.1 and appendix B.4). Several query heads may share
    a key-value head (grouped-query attention, arXiv 2305.13245).

    Args:
        query: ``(groups, rows, heads, tokens, dim)``; the rows of a group share its prompt.
        prompt_key: ``(groups, kv_heads, prompt_tokens, dim)``.
        prompt_value: Same shape.
        key: ``(groups, rows, kv_heads, own_tokens, dim)``.
        value: Same shape.
        scale: Factor on the products of queries and keys.
        prompt_bias: Added before the softmax, -inf where a query may not look: broadcasts to
            ``(groups, rows, tokens, prompt_tokens)``.
        bias: Likewise for the own keys, ``(groups, rows, tokens, own_tokens)``. Every query must see some key.

    Returns:
        ``(groups, rows, heads, tokens, dim)`` in the query's dtype; the softmax is taken in float32.
    """
    output: Any = _SharedPromptAttention.apply(query, prompt_key, prompt_value, key, value, scale, prompt_bias, bias)
    return output


class _SharedPromptAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        prompt_key: Tensor,
        prompt_value: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        prompt_bias: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        heads = _Heads(query.shape, prompt_key.shape[1])
        over_prompt = heads.prompt_scores(query, prompt_key, scale, prompt_bias)
        over_own = heads.own_scores(query, key, scale, bias)
        lse = heads.from_prompt(over_prompt.logsumexp(-1, keepdim=True))
        lse = lse.logaddexp(heads.from_own(over_own.logsumexp(-1, keepdim=True)))  # (groups, rows, heads, tokens, 1)
        output = heads.from_prompt(_probabilities(over_prompt, heads.by_prompt(lse)).to(query.dtype) @ prompt_value)
        output += heads.from_own(_probabilities(over_own, heads.by_own(lse)).to(query.dtype) @ value)
        ctx.save_for_backward(query, prompt_key, prompt_value, key, value, output, lse, prompt_bias, bias)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        query, prompt_key, prompt_value, key, value, output, lse, prompt_bias, bias = ctx.saved_tensors
        (gradient,) = gradients
        scale: float = ctx.scale
        heads = _Heads(query.shape, prompt_key.shape[1])
        delta = (gradient.float() * output).sum(-1, keepdim=True)

        scores = heads.prompt_scores(query, prompt_key, scale, prompt_bias)
        behind = [heads.by_prompt(x) for x in (lse, query, gradient, delta)]
        grad_query, grad_prompt_key, grad_prompt_value = _backward(scores, behind, prompt_key, prompt_value, scale)
        grad_query = heads.from_prompt(grad_query)

        scores = heads.own_scores(query, key, scale, bias)
        own = [heads.by_own(x) for x in (lse, query, gradient, delta)]
        grad_own, grad_key, grad_value = _backward(scores, own, key, value, scale)
        grad_query += heads.from_own(grad_own)
        return grad_query, grad_prompt_key, grad_prompt_value, grad_key, grad_value, None, None, None


@dataclass(frozen=True)
class _Heads:
    """Two orders of the queries: behind their prompt (all rows of a group together), and row by row.

    Attributes:
        shape: The queries', ``(groups, rows, heads, tokens, dim)``.
        kv_heads: Key-value heads.
    """

    shape: torch.Size
    kv_heads: int

    def _split(self, x: Tensor) -> Tensor:
        groups, rows, heads, tokens, _ = self.shape
        return x.reshape(groups, rows, self.kv_heads, heads // self.kv_heads, tokens, -1)

    def by_prompt(self, x: Tensor) -> Tensor:
        """``(groups, kv_heads, rows * heads per kv_head * tokens, d)``."""
        return self._split(x).transpose(1, 2).flatten(2, 4)

    def by_own(self, x: Tensor) -> Tensor:
        """``(groups, rows, kv_heads, heads per kv_head * tokens, d)``."""
        return self._split(x).flatten(3, 4)

    def from_prompt(self, x: Tensor) -> Tensor:
        groups, rows, heads, tokens, _ = self.shape
        x = x.view(groups, self.kv_heads, rows, heads // self.kv_heads, tokens, -1)
        return x.transpose(1, 2).reshape(groups, rows, heads, tokens, -1)

    def from_own(self, x: Tensor) -> Tensor:
        return x.reshape(*self.shape[:4], -1)

    def prompt_scores(self, query: Tensor, key: Tensor, scale: float, bias: Tensor | None) -> Tensor:
        groups, rows, heads, tokens, _ = self.shape
        scores = (self.by_prompt(query) @ key.mT).float().mul_(scale)
        if bias is not None:
            by_row = scores.view(groups, self.kv_heads, rows, heads // self.kv_heads, tokens, -1)
            by_row += bias[:, None, :, None]
        return scores

    def own_scores(self, query: Tensor, key: Tensor, scale: float, bias: Tensor | None) -> Tensor:
        scores = (self.by_own(query) @ key.mT).float().mul_(scale)
        if bias is not None:
            by_head = self._split(scores)
            by_head += bias[:, :, None, None]
        return scores


def _probabilities(scores: Tensor, lse: Tensor) -> Tensor:
    """Overwrites ``scores``."""
    return scores.sub_(lse).exp_()


def _backward(
    scores: Tensor, by_query: list[Tensor], key: Tensor, value: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients with respect to query, key and value of one part; ``by_query`` is (lse, query, gradient, delta)."""
    lse, query, gradient, delta = by_query
    probabilities = _probabilities(scores, lse)
    grad_value = probabilities.to(gradient.dtype).mT @ gradient
    grad_scores = (gradient @ value.mT).float().sub_(delta).mul_(probabilities).mul_(scale).to(query.dtype)
    return grad_scores @ key, grad_scores.mT @ query, grad_value
