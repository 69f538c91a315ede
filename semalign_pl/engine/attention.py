"""Attention of sequences over themselves, and of several completions over their shared prompt without copies of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


def causal_attention(
    query: Float[Tensor, "rows heads tokens dim"],
    key: Float[Tensor, "rows kv_heads tokens dim"],
    value: Float[Tensor, "rows kv_heads tokens dim"],
    scale: float,
    mask: Bool[Tensor, "tokens tokens"] | None,
) -> Float[Tensor, "rows heads tokens dim"]:
    """PyTorch's fused attention with a causal mask, or with a given one.

    Args:
        query: Queries.
        key: Keys.
        value: Values.
        scale: Factor on the products of queries and keys.
        mask: Mask that is true where a query attends to a key; ``None`` for a causal mask.
    """
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


def shared_prompt_attention(
    query: Float[Tensor, "groups rows heads tokens dim"],
    prompt_key: Float[Tensor, "groups kv_heads prompt_tokens dim"],
    prompt_value: Float[Tensor, "groups kv_heads prompt_tokens dim"],
    key: Float[Tensor, "groups rows kv_heads own_tokens dim"],
    value: Float[Tensor, "groups rows kv_heads own_tokens dim"],
    scale: float,
    prompt_bias: Float[Tensor, "#groups #rows #tokens prompt_tokens"] | None = None,
    bias: Float[Tensor, "#groups #rows tokens own_tokens"] | None = None,
) -> Float[Tensor, "groups rows heads tokens dim"]:
    """Softmax attention over the concatenation of the prompt's keys and a completion's own keys.

    The softmax runs over both, but they are never concatenated: one matrix product multiplies the prompt's keys with
    the queries of all completions of a group. Backward keeps inputs, output and log-sum-exp, and recomputes the
    probabilities (FlashAttention, arXiv 2205.14135, section 3.1 and appendix B.4). Several query heads may share a
    key-value head (grouped-query attention, arXiv 2305.13245).

    Args:
        query: Queries of the completions; the rows of a group share its prompt.
        prompt_key: Keys of the prompts.
        prompt_value: Values of the prompts.
        key: Keys of the completions.
        value: Values of the completions.
        scale: Factor on the products of queries and keys.
        prompt_bias: Additive mask from queries to prompt keys, -inf where masked.
        bias: Additive mask from queries to own keys. Every query needs at least one key that is not masked.

    Returns:
        Attention output in the query's dtype; the softmax is computed in float32.
    """
    return _SharedPromptAttention.apply(query, prompt_key, prompt_value, key, value, scale, prompt_bias, bias)


class _Context(Protocol):
    """Values that forward keeps for backward."""

    saved_tensors: tuple[Tensor, ...]
    scale: float

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


class _SharedPromptAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: _Context,
        query: Tensor,
        prompt_key: Tensor,
        prompt_value: Tensor,
        key: Tensor,
        value: Tensor,
        scale: float,
        prompt_bias: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        heads = _HeadLayout(query.shape, prompt_key.shape[1])
        # 1. Scores against both sets of keys, which are never concatenated: that would copy the prompt per completion.
        over_prompt = heads.prompt_scores(query, prompt_key, scale, prompt_bias)
        over_own = heads.own_scores(query, key, scale, bias)
        # 2. One log-sum-exp over both: this is what makes it one softmax.
        lse = heads.from_prompt(over_prompt.logsumexp(-1, keepdim=True))
        lse = lse.logaddexp(heads.from_own(over_own.logsumexp(-1, keepdim=True)))  # (groups, rows, heads, tokens, 1)
        # 3. Probabilities times values of each set, added: the shared log-sum-exp has normalised them already.
        output = heads.from_prompt(_probabilities(over_prompt, heads.by_prompt(lse)).to(query.dtype) @ prompt_value)
        output += heads.from_own(_probabilities(over_own, heads.by_own(lse)).to(query.dtype) @ value)
        ctx.save_for_backward(query, prompt_key, prompt_value, key, value, output, lse, prompt_bias, bias)
        ctx.scale = scale
        return output

    @staticmethod
    def backward(ctx: _Context, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        query, prompt_key, prompt_value, key, value, output, lse, prompt_bias, bias = ctx.saved_tensors
        (gradient,), scale = gradients, ctx.scale
        heads = _HeadLayout(query.shape, prompt_key.shape[1])
        # The softmax's Jacobian needs the sum over keys of probability * gradient, which equals gradient . output.
        delta = (gradient.float() * output).sum(-1, keepdim=True)

        # Prompt keys: the product sums the gradients of all completions of a group. Probabilities are computed again,
        # because keeping them for every layer would take most of the memory of a step.
        scores = heads.prompt_scores(query, prompt_key, scale, prompt_bias)
        by_prompt = [heads.by_prompt(x) for x in (lse, query, gradient, delta)]
        grad_query, grad_prompt_key, grad_prompt_value = _backward(scores, by_prompt, prompt_key, prompt_value, scale)
        grad_query = heads.from_prompt(grad_query)

        # Own keys: one product per completion.
        scores = heads.own_scores(query, key, scale, bias)
        by_own = [heads.by_own(x) for x in (lse, query, gradient, delta)]
        grad_own, grad_key, grad_value = _backward(scores, by_own, key, value, scale)
        grad_query += heads.from_own(grad_own)
        return grad_query, grad_prompt_key, grad_prompt_value, grad_key, grad_value, None, None, None


@dataclass(frozen=True)
class _HeadLayout:
    """Layout of queries for the two products: per prompt (all rows of a group together), and per row.

    Attributes:
        shape: Shape of the queries, ``(groups, rows, heads, tokens, dim)``.
        kv_heads: Number of key-value heads.
    """

    shape: torch.Size
    kv_heads: int

    def _split(self, x: Tensor) -> Tensor:
        groups, rows, heads, tokens, _ = self.shape
        return x.reshape(groups, rows, self.kv_heads, heads // self.kv_heads, tokens, -1)

    def by_prompt(self, x: Tensor) -> Tensor:
        """Queries per prompt, ``(groups, kv_heads, rows * heads per kv_head * tokens, d)``."""
        return self._split(x).transpose(1, 2).flatten(2, 4)

    def by_own(self, x: Tensor) -> Tensor:
        """Queries per row, ``(groups, rows, kv_heads, heads per kv_head * tokens, d)``."""
        return self._split(x).flatten(3, 4)

    def from_prompt(self, x: Tensor) -> Tensor:
        """Inverse of ``by_prompt``, with any last dimension."""
        groups, rows, heads, tokens, _ = self.shape
        x = x.view(groups, self.kv_heads, rows, heads // self.kv_heads, tokens, -1)
        return x.transpose(1, 2).reshape(groups, rows, heads, tokens, -1)

    def from_own(self, x: Tensor) -> Tensor:
        """Inverse of ``by_own``, with any last dimension."""
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
    """Softmax probabilities, in the memory of ``scores``."""
    return scores.sub_(lse).exp_()


def _backward(
    scores: Tensor, by_query: list[Tensor], key: Tensor, value: Tensor, scale: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of query, key and value for one set of keys; ``by_query`` is (lse, query, gradient, delta)."""
    lse, query, gradient, delta = by_query
    probabilities = _probabilities(scores, lse)
    grad_value = probabilities.to(gradient.dtype).mT @ gradient
    grad_scores = (gradient @ value.mT).float().sub_(delta).mul_(probabilities).mul_(scale).to(query.dtype)
    return grad_scores @ key, grad_scores.mT @ query, grad_value
