"""Packed batches: the tokens of many sequences in one row, and their attention.

The decoder gets ``(1, tokens)``, so no padding passes through its linear layers, norms and rotary embeddings. Only
attention needs to know which token belongs to which sequence: a *packed batch* replaces the attention kernel while
``decode`` runs. There are four: ``PackedSequences`` (independent sequences), ``PackedCompletions`` (completions that
attend to a shared prompt's KV cache), ``PackedGroups`` (prompts and their completions in one row), and ``DecodeState``
in decoding.py (one new token per completion). Rollouts, log-probs and SFT use no others.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Protocol

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semalign_pl.engine.attention import causal_attention, shared_prompt_attention
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.prompt_cache import Padding, PromptCache, bias_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "semalign_packed"


class PackedBatch(Protocol):
    """A packed batch: token ids, positions, and its attention function.

    Attributes:
        ids: Token ids of all sequences.
        positions: Position of each token in its own sequence.
    """

    ids: Int[Tensor, "1 tokens"]
    positions: Int[Tensor, "1 tokens"]

    def attend(
        self,
        layer: int,
        query: Float[Tensor, "tokens heads dim"],
        key: Float[Tensor, "tokens kv_heads dim"],
        value: Float[Tensor, "tokens kv_heads dim"],
        scale: float,
        window: int | None,
    ) -> Float[Tensor, "tokens heads dim"]:
        """Attention output of one layer.

        Args:
            layer: Index of the layer.
            query: Queries of all tokens.
            key: Keys of all tokens.
            value: Values of all tokens.
            scale: Factor on the products of queries and keys.
            window: Size of the sliding window: a token attends to itself and the ``window - 1`` tokens before it.
                ``None`` for full attention.
        """
        ...


def decode(policy: CausalPolicy, batch: PackedBatch) -> Float[Tensor, "tokens hidden"]:
    """Run the decoder on a packed batch.

    Args:
        policy: Model to use; set train or eval mode and the active adapter first.
        batch: Packed batch to run.

    Returns:
        Last hidden states of all tokens.
    """
    with packed_attention(policy.decoder):
        output = policy.decoder(input_ids=batch.ids, position_ids=batch.positions, use_cache=False, packed_batch=batch)
    return output.last_hidden_state[0]


@contextlib.contextmanager
def packed_attention(decoder: PreTrainedModel) -> Iterator[None]:
    """Replace the decoder's attention by the packed batch's; restored on exit, also after an exception.

    Args:
        decoder: Decoder of transformers.
    """
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, _attention)
    config = decoder.config
    before = config._attn_implementation
    config._attn_implementation = ATTENTION
    try:
        yield
    finally:
        config._attn_implementation = before


class _AttentionLayer(Protocol):
    layer_idx: int


def _attention(
    module: _AttentionLayer,
    query: Float[Tensor, "1 heads tokens dim"],
    key: Float[Tensor, "1 kv_heads tokens dim"],
    value: Float[Tensor, "1 kv_heads tokens dim"],
    attention_mask: object,
    *,
    packed_batch: PackedBatch,
    scaling: float,
    sliding_window: int | None = None,
    dropout: float = 0.0,
    **options: object,
) -> tuple[Float[Tensor, "1 tokens heads dim"], None]:
    """Attention function of transformers' interface; refuses what a packed batch would silently leave out."""
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise NotImplementedError(f"its attention uses {name}")
    if dropout:
        raise NotImplementedError("its attention uses dropout")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    q, k = q.to(v.dtype), k.to(v.dtype)  # under autocast a float32 norm of queries and keys returns float32
    output = packed_batch.attend(module.layer_idx, q, k, v, scaling, sliding_window)
    return output.unsqueeze(0), None


class PackedSequences:
    """Independent sequences with causal attention.

    Args:
        sequences: Token ids, one list per sequence; none empty.
        device: Device to run on.
        keep: Flag to keep the KV cache, for completions of these prompts.

    Attributes:
        prompt_cache: The KV cache with ``keep``; else ``None``.
        last: Index of each sequence's last token in the packed row.
    """

    def __init__(self, sequences: list[list[int]], device: torch.device, keep: bool = False) -> None:
        lengths = [len(ids) for ids in sequences]
        self.ids = torch.tensor([token for ids in sequences for token in ids], device=device).unsqueeze(0)
        self.positions = torch.cat([torch.arange(n) for n in lengths]).to(device).unsqueeze(0)
        self.padding = Padding(lengths, device)
        self.last: Int[Tensor, " sequences"] = torch.tensor(lengths, device=device).cumsum(0) - 1
        self.prompt_cache = PromptCache(lengths, device) if keep else None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer, as in ``PackedBatch``."""
        # Padding follows every token, so causal attention never reaches it.
        q, k, v = (x.transpose(1, 2) for x in self.padding.pad_heads(query, key, value))
        # Recomputation runs this a second time; completions attend to the first keys, whose gradients are gathered.
        if self.prompt_cache is not None and layer not in self.prompt_cache.keys:
            # Head by head in memory: else every product of a decoding step would copy the cache into this layout.
            k, v = k.contiguous(), v.contiguous()
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
        completions: Token ids of each prompt's completions; at least one is not empty.
        keep: Flag to keep the completions' own keys and values.

    Attributes:
        keys: Keys per layer with ``keep``, padded on the right; each prompt has as many rows as the largest group.
        values: Values per layer with ``keep``, in the same layout.
    """

    def __init__(
        self,
        prompt_cache: PromptCache,
        offsets: list[int],
        completions: list[list[list[int]]],
        keep: bool = False,
    ) -> None:
        device = prompt_cache.lengths.device
        self.prompt_cache, self.slots, self.keep = prompt_cache, max(map(len, completions)), keep
        self.keys: dict[int, Float[Tensor, "rows kv_heads longest dim"]] = {}
        self.values: dict[int, Float[Tensor, "rows kv_heads longest dim"]] = {}
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
        """Attention output of one layer, as in ``PackedBatch``."""
        # (prompts, slots, heads, longest, dim): the completions of a prompt share one product with its keys.
        padded = self.padding.pad_heads(query, key, value)
        q, k, v = (x.unflatten(0, (-1, self.slots)).transpose(2, 3) for x in padded)
        if self.keep:
            self.keys[layer], self.values[layer] = k.flatten(0, 1), v.flatten(0, 1)
        if window not in self.biases:
            # One mask per window serves all layers.
            distance = _distance(q.shape[3], q.device)
            masked = (distance < 0) if window is None else (distance < 0) | (distance >= window)
            self.biases[window] = self.prompt_cache.bias(0, q.shape[3], window), bias_of(masked)[None, None]
        keys, values = self.prompt_cache.keys[layer], self.prompt_cache.values[layer]
        output = shared_prompt_attention(q, keys, values, k, v, scale, *self.biases[window])
        return self.padding.flatten(output.transpose(2, 3).flatten(0, 1))


class PackedGroups:
    """Prompts, and after them their completions: one forward of both, in which each prompt is still there only once.

    Args:
        prompts: Token ids of the prompts, none empty.
        completions: Token ids of each prompt's completions; at least one is not empty.
        device: Device to run on.
    """

    def __init__(self, prompts: list[list[int]], completions: list[list[list[int]]], device: torch.device) -> None:
        self.prompts = PackedSequences(prompts, device, keep=True)
        assert self.prompts.prompt_cache is not None
        self.prompt_cache = self.prompts.prompt_cache
        self.completions = PackedCompletions(self.prompt_cache, list(map(len, prompts)), completions)
        self.ids = torch.cat([self.prompts.ids, self.completions.ids], 1)
        self.positions = torch.cat([self.prompts.positions, self.completions.positions], 1)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer, as in ``PackedBatch``."""
        sizes = [self.prompts.ids.shape[1], self.completions.ids.shape[1]]
        (q, own_q), (k, own_k), (v, own_v) = (x.split(sizes) for x in (query, key, value))
        # The prompts' keys and values are in the cache only until their completions have attended to them.
        outputs = [self.prompts.attend(layer, q, k, v, scale, window)]
        outputs.append(self.completions.attend(layer, own_q, own_k, own_v, scale, window))
        del self.prompt_cache.keys[layer], self.prompt_cache.values[layer]
        return torch.cat(outputs)


def _distance(tokens: int, device: torch.device) -> Int[Tensor, "queries keys"]:
    """Distance from each query position back to each key position, of the same tokens."""
    place = torch.arange(tokens, device=device)
    return place.unsqueeze(1) - place
