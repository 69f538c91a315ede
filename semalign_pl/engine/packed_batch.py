"""Packed batches: the tokens of many sequences in one row, and their attention.

The decoder gets ``(1, tokens)``, so no padding passes through its linear layers, norms and rotary embeddings. Only
attention needs to know which token belongs to which sequence: a *packed batch* replaces the attention kernel while
``decode`` runs. There are three: ``PackedSequences`` (independent sequences), ``PackedCompletions`` (completions that
attend to a shared prompt's KV cache), and ``DecodeState`` in decoding.py (one new token per completion). Rollouts,
log-probs and SFT use no others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from semalign_pl.engine.attention import shared_prompt_attention

if TYPE_CHECKING:
    from semalign_pl.policy.policy import Policy

ATTENTION = "semalign_flat"


class PackedBatch(Protocol):
    """A packed batch: token ids, positions, and its attention function.

    Attributes:
        ids: Token ids of all sequences, ``(1, tokens)`` int64.
        positions: Position of each token in its own sequence, ``(1, tokens)`` int64.
    """

    ids: Tensor
    positions: Tensor

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer.

        Args:
            layer: Index of the layer.
            query: Queries, ``(tokens, heads, dim)``.
            key: Keys, ``(tokens, kv_heads, dim)``.
            value: Values, same shape as the keys.
            scale: Factor on the products of queries and keys.
            window: Size of the sliding window: a token attends to itself and the ``window - 1`` tokens before it.
                ``None`` for full attention.

        Returns:
            ``(tokens, heads, dim)``.
        """
        ...


def decode(policy: Policy, layout: PackedBatch) -> Tensor:
    """Run the decoder on a packed batch.

    Args:
        policy: Model to use; set train or eval mode and the active adapter first.
        layout: Packed batch to run.

    Returns:
        Last hidden states ``(tokens, hidden)``.
    """
    with flat_attention(policy.decoder):
        output = policy.decoder(input_ids=layout.ids, position_ids=layout.positions, use_cache=False, layout=layout)
    return output.last_hidden_state[0]


@contextlib.contextmanager
def flat_attention(decoder: nn.Module) -> Iterator[None]:
    """Replace the decoder's attention by the packed batch's; restored on exit, also after an exception.

    Args:
        decoder: Decoder of transformers.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)
    config: Any = decoder.config
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


def _attention(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *, layout: PackedBatch, **options: Any
) -> tuple[Tensor, None]:
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise NotImplementedError(f"its attention uses {name}")
    if options.get("dropout"):
        raise NotImplementedError("its attention uses dropout")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    q, k = q.to(v.dtype), k.to(v.dtype)  # under autocast a float32 norm of queries and keys returns float32
    output = layout.attend(module.layer_idx, q, k, v, options["scaling"], options.get("sliding_window"))
    return output.unsqueeze(0), None


class Padding:
    """Conversion between packed tokens and rows padded on the right.

    Args:
        lengths: Number of tokens of each row.
        device: Device of the tokens.

    Attributes:
        shape: ``(rows, longest)``.
        mask: Mask of tokens, ``(rows, longest)`` bool.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.shape = (len(lengths), max(lengths))
        grid = torch.arange(self.shape[1]) < torch.tensor(lengths).unsqueeze(1)
        self.mask = grid.to(device)
        self.places = None if bool(grid.all()) else grid.flatten().nonzero().squeeze(1).to(device)

    def pad(self, x: Tensor) -> Tensor:
        """Pad packed tokens ``(tokens, ...)`` to ``(rows, longest, ...)`` with zeros."""
        if self.places is not None:
            x = x.new_zeros((self.shape[0] * self.shape[1], *x.shape[1:])).index_copy(0, self.places, x)
        return x.reshape(*self.shape, *x.shape[1:])

    def flatten(self, x: Tensor) -> Tensor:
        """Pack padded rows ``(rows, longest, ...)`` to ``(tokens, ...)``."""
        x = x.flatten(0, 1)
        return x if self.places is None else x.index_select(0, self.places)


class PromptCache:
    """KV cache of the prompts, shared by all completions of a prompt.

    Args:
        lengths: Number of tokens of each prompt.
        device: Device of the cache.

    Attributes:
        lengths: Number of tokens of each prompt, ``(prompts,)`` int64.
        keys: Keys per layer, ``(prompts, kv_heads, longest, dim)``, padded on the right.
        values: Values per layer, same shape.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.lengths, self.longest = torch.tensor(lengths, device=device), max(lengths)
        self.ragged = min(lengths) < self.longest
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def select(self, rows: Tensor) -> PromptCache:
        """Return the cache of some prompts.

        Args:
            rows: Indices of the prompts, ``(rows,)`` int64.
        """
        chosen = PromptCache(self.lengths[rows].tolist(), rows.device)
        chosen.keys = {layer: held[rows, :, : chosen.longest] for layer, held in self.keys.items()}
        chosen.values = {layer: held[rows, :, : chosen.longest] for layer, held in self.values.items()}
        return chosen

    def bias(self, start: int, tokens: int, window: int | None) -> Tensor | None:
        """Additive attention mask from completion tokens to prompt keys: masks padding and keys outside the window.

        Args:
            start: Index of the first of the tokens in its completion.
            tokens: Number of tokens per completion.
            window: Size of the sliding window, as in ``PackedBatch.attend``.

        Returns:
            ``(prompts, 1, 1 or tokens, longest)`` float32 of 0 and -inf; ``None`` if nothing is masked.
        """
        near = window is None or self.longest + start + tokens <= window
        if near and not self.ragged:
            return None
        device = self.lengths.device
        key = torch.arange(self.longest, device=device)
        hidden = (key >= self.lengths.unsqueeze(1))[:, None, None]
        if window is not None and not near:
            position = self.lengths.unsqueeze(1) + torch.arange(start, start + tokens, device=device)
            hidden = hidden | (position.unsqueeze(-1) - key >= window).unsqueeze(1)
        return bias_of(hidden)


class PackedSequences:
    """Independent sequences with causal attention.

    Args:
        sequences: Token ids, one list per sequence; none empty.
        device: Device to run on.
        keep: Keep the KV cache, for completions of these prompts.

    Attributes:
        prompt_cache: The KV cache with ``keep``; else ``None``.
        last: Index of each sequence's last token in the packed row, ``(sequences,)`` int64.
    """

    def __init__(self, sequences: list[list[int]], device: torch.device, keep: bool = False) -> None:
        lengths = [len(ids) for ids in sequences]
        self.ids = torch.tensor([token for ids in sequences for token in ids], device=device).unsqueeze(0)
        self.positions = torch.cat([torch.arange(n) for n in lengths]).to(device).unsqueeze(0)
        self.padding = Padding(lengths, device)
        self.last = torch.tensor(lengths, device=device).cumsum(0) - 1
        self.prompt_cache = PromptCache(lengths, device) if keep else None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer. Padding follows every token, so causal attention never reaches it."""
        q, k, v = (self.padding.pad(x).transpose(1, 2) for x in (query, key, value))
        if (
            self.prompt_cache is not None and layer not in self.prompt_cache.keys
        ):  # recomputation runs this a second time
            self.prompt_cache.keys[layer], self.prompt_cache.values[layer] = k, v
        mask = None
        if window is not None and window < q.shape[2]:
            distance = _distance(q.shape[2], q.device)
            mask = (distance >= 0) & (distance < window)
        output = causal_attention(q, k, v, scale, mask)
        return self.padding.flatten(output.transpose(1, 2))


class PackedCompletions:
    """Completions that attend to their shared prompt's KV cache and to themselves, and to no other completion.

    Args:
        prompt_cache: KV cache of the prompts.
        offsets: Position of the first completion token, per prompt: the prompt's number of tokens.
        completions: Token ids of each prompt's completions; none empty, and at least one in total.
    """

    def __init__(self, prompt_cache: PromptCache, offsets: list[int], completions: list[list[list[int]]]) -> None:
        device = prompt_cache.lengths.device
        self.prompt_cache, self.slots = prompt_cache, max(map(len, completions))
        # Every prompt has the same number of slots, so that attention is one product; an empty slot has no tokens
        # in the linear layers and costs only a little in attention.
        lengths = [len(ids) for group in completions for ids in [*group, *([[]] * (self.slots - len(group)))]]
        starts = [start for start in offsets for _ in range(self.slots)]
        self.padding = Padding(lengths, device)
        self.biases: dict[int | None, tuple[Tensor | None, Tensor]] = {}
        tokens = [token for group in completions for ids in group for token in ids]
        self.ids = torch.tensor(tokens, device=device).unsqueeze(0)
        positions = [torch.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)]
        self.positions = torch.cat(positions).to(device).unsqueeze(0)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer."""
        # (prompts, slots, heads, longest, dim)
        q, k, v = (self.padding.pad(x).unflatten(0, (-1, self.slots)).transpose(2, 3) for x in (query, key, value))
        if window not in self.biases:
            distance = _distance(q.shape[3], q.device)
            hidden = (distance < 0) if window is None else (distance < 0) | (distance >= window)
            self.biases[window] = self.prompt_cache.bias(0, q.shape[3], window), bias_of(hidden)[None, None]
        keys, values = self.prompt_cache.keys[layer], self.prompt_cache.values[layer]
        output = shared_prompt_attention(q, keys, values, k, v, scale, *self.biases[window])
        return self.padding.flatten(output.transpose(2, 3).flatten(0, 1))


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """PyTorch's fused attention with a causal mask, or with a given one.

    Args:
        query: Queries, ``(rows, heads, tokens, dim)``.
        key: Keys, ``(rows, kv_heads, tokens, dim)``.
        value: Values, same shape as the keys.
        scale: Factor on the products of queries and keys.
        mask: Mask ``(tokens, tokens)`` bool, true where a query attends to a key; ``None`` for a causal mask.
    """
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


def _distance(tokens: int, device: torch.device) -> Tensor:
    """Distance from each query position (rows) back to each key position (columns), ``(tokens, tokens)`` int64."""
    place = torch.arange(tokens, device=device)
    return place.unsqueeze(1) - place


def bias_of(hidden: Tensor) -> Tensor:
    """Additive attention mask, float32 of 0 and -inf, from a mask of what is ``hidden`` (bool, any shape)."""
    return torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, float("-inf"))
