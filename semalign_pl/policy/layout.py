"""Tokens of many sequences in one flat row, and what attention makes of them.

The decoder sees ``(1, tokens)``: no padding passes through its linear layers, norms and rotary embeddings. Only
attention needs to know which token belongs to which sequence; a *layout* knows, and attends in the kernel's place while
``decode`` runs. ``Sequences`` stand alone, ``Continuations`` stand behind sequences and share their keys and values,
and so do the rollouts of decoding.py, one token each. Rollouts, scoring and SFT all run through these three.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from semalign_pl.functional.attention import shared_prompt_attention

if TYPE_CHECKING:
    from semalign_pl.policy.policy import Policy

ATTENTION = "semalign_flat"


class Layout(Protocol):
    """Where tokens stand, and how they attend.

    Attributes:
        ids: ``(1, tokens)`` int64.
        positions: ``(1, tokens)`` int64, each token's place in its own sequence.
    """

    ids: Tensor
    positions: Tensor

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention of one layer.

        Args:
            layer: Its number.
            query: ``(tokens, heads, dim)``.
            key: ``(tokens, kv_heads, dim)``.
            value: Same shape.
            scale: Factor on the products of queries and keys.
            window: A token sees itself and the ``window - 1`` before it; ``None`` sees all.

        Returns:
            ``(tokens, heads, dim)``.
        """
        ...


def decode(policy: Policy, layout: Layout) -> Tensor:
    """Run the decoder over a layout.

    Args:
        policy: In the mode and role the caller has set.
        layout: What to run.

    Returns:
        Last hidden states ``(tokens, hidden)``.
    """
    with flat_attention(policy.decoder):
        output = policy.decoder(input_ids=layout.ids, position_ids=layout.positions, use_cache=False, layout=layout)
    return output.last_hidden_state[0]


@contextlib.contextmanager
def flat_attention(decoder: nn.Module) -> Iterator[None]:
    """Let layouts attend inside; the decoder's own attention is back afterwards, also after an exception.

    Args:
        decoder: A transformers decoder.
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
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, *, layout: Layout, **options: Any
) -> tuple[Tensor, None]:
    for name in ("softcap", "s_aux", "position_bias"):
        if options.get(name) is not None:
            raise NotImplementedError(f"its attention uses {name}")
    if options.get("dropout"):
        raise NotImplementedError("its attention uses dropout")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    q, k = q.to(v.dtype), k.to(v.dtype)  # under autocast a norm in float32 may have raised them
    output = layout.attend(module.layer_idx, q, k, v, options["scaling"], options.get("sliding_window"))
    return output.unsqueeze(0), None


class Padding:
    """Between flat tokens and rows of equal length, padded on the right.

    Args:
        lengths: Tokens of each row.
        device: Where the tokens are.

    Attributes:
        shape: ``(rows, longest)``.
        mask: Of that shape, bool, true on tokens.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.shape = (len(lengths), max(lengths))
        grid = torch.arange(self.shape[1]) < torch.tensor(lengths).unsqueeze(1)
        self.mask = grid.to(device)
        self.places = None if bool(grid.all()) else grid.flatten().nonzero().squeeze(1).to(device)

    def pad(self, x: Tensor) -> Tensor:
        """``(tokens, ...)`` to ``(rows, longest, ...)``, zeros in the padding."""
        if self.places is not None:
            x = x.new_zeros((self.shape[0] * self.shape[1], *x.shape[1:])).index_copy(0, self.places, x)
        return x.reshape(*self.shape, *x.shape[1:])

    def flatten(self, x: Tensor) -> Tensor:
        """``(rows, longest, ...)`` to ``(tokens, ...)``."""
        x = x.flatten(0, 1)
        return x if self.places is None else x.index_select(0, self.places)


class Prefix:
    """Keys and values of sequences, for what stands behind them.

    Args:
        lengths: Tokens of each.
        device: Where they are.

    Attributes:
        lengths: ``(sequences,)`` int64.
        keys: Layer to ``(sequences, kv_heads, longest, dim)``, padded on the right.
        values: Likewise.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.lengths, self.longest = torch.tensor(lengths, device=device), max(lengths)
        self.ragged = min(lengths) < self.longest
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def select(self, rows: Tensor) -> Prefix:
        """Some of the sequences.

        Args:
            rows: ``(rows,)`` int64.
        """
        chosen = Prefix(self.lengths[rows].tolist(), rows.device)
        chosen.keys = {layer: held[rows, :, : chosen.longest] for layer, held in self.keys.items()}
        chosen.values = {layer: held[rows, :, : chosen.longest] for layer, held in self.values.items()}
        return chosen

    def bias(self, start: int, tokens: int, window: int | None) -> Tensor | None:
        """What tokens behind the sequences may not see of them: padding, and what lies outside the window.

        Args:
            start: Place of the first of the tokens behind its sequence, from 0.
            tokens: How many there are, a row.
            window: See ``Layout.attend``.

        Returns:
            ``(sequences, 1, 1 or tokens, longest)`` float32 of 0 and -inf; ``None`` where everything is seen.
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


class Sequences:
    """Sequences that each see themselves, causally.

    Args:
        sequences: Token ids, at least one a sequence.
        device: Where to run them.

    Attributes:
        prefix: Keys and values, where something is to stand behind; else ``None``.
        last: ``(sequences,)`` int64, the place of each sequence's last token in the flat row.
    """

    def __init__(self, sequences: list[list[int]], device: torch.device, keep: bool = False) -> None:
        lengths = [len(ids) for ids in sequences]
        self.ids = torch.tensor([token for ids in sequences for token in ids], device=device).unsqueeze(0)
        self.positions = torch.cat([torch.arange(n) for n in lengths]).to(device).unsqueeze(0)
        self.padding = Padding(lengths, device)
        self.last = torch.tensor(lengths, device=device).cumsum(0) - 1
        self.prefix = Prefix(lengths, device) if keep else None

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """See ``Layout``. Padding stands behind every token and so is never seen."""
        q, k, v = (self.padding.pad(x).transpose(1, 2) for x in (query, key, value))
        if self.prefix is not None and layer not in self.prefix.keys:  # recomputation comes here a second time
            self.prefix.keys[layer], self.prefix.values[layer] = k, v
        mask = None
        if window is not None and window < q.shape[2]:
            distance = _distance(q.shape[2], q.device)
            mask = (distance >= 0) & (distance < window)
        output = causal_attention(q, k, v, scale, mask)
        return self.padding.flatten(output.transpose(1, 2))


class Continuations:
    """Tokens behind shared sequences: each row sees its sequence and itself, causally, and no sibling.

    Args:
        prefix: The sequences.
        behind: Tokens of each sequence.
        rows: For each sequence its continuations, none of them empty; at least one in all.
    """

    def __init__(self, prefix: Prefix, behind: list[int], rows: list[list[list[int]]]) -> None:
        device = prefix.lengths.device
        self.prefix, self.slots = prefix, max(map(len, rows))
        # Every sequence gets as many slots; one that stays empty costs attention a little, and nothing else.
        lengths = [len(ids) for group in rows for ids in [*group, *([[]] * (self.slots - len(group)))]]
        starts = [start for start in behind for _ in range(self.slots)]
        self.padding = Padding(lengths, device)
        self.biases: dict[int | None, tuple[Tensor | None, Tensor]] = {}
        self.ids = torch.tensor([token for group in rows for ids in group for token in ids], device=device).unsqueeze(0)
        positions = [torch.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)]
        self.positions = torch.cat(positions).to(device).unsqueeze(0)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """See ``Layout``."""
        # (sequences, slots, heads, longest, dim)
        q, k, v = (self.padding.pad(x).unflatten(0, (-1, self.slots)).transpose(2, 3) for x in (query, key, value))
        if window not in self.biases:
            distance = _distance(q.shape[3], q.device)
            hidden = (distance < 0) if window is None else (distance < 0) | (distance >= window)
            self.biases[window] = self.prefix.bias(0, q.shape[3], window), bias_of(hidden)[None, None]
        keys, values = self.prefix.keys[layer], self.prefix.values[layer]
        output = shared_prompt_attention(q, keys, values, k, v, scale, *self.biases[window])
        return self.padding.flatten(output.transpose(2, 3).flatten(0, 1))


def causal_attention(query: Tensor, key: Tensor, value: Tensor, scale: float, mask: Tensor | None) -> Tensor:
    """PyTorch's fused attention; causal where no ``mask`` (bool, true where a query may look) says otherwise.

    Args:
        query: ``(rows, heads, tokens, dim)``.
        key: ``(rows, kv_heads, tokens, dim)``.
        value: Same shape.
        scale: Factor on the products of queries and keys.
        mask: ``(tokens, tokens)``.
    """
    grouped = query.shape[1] != key.shape[1]
    return scaled_dot_product_attention(
        query, key, value, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
    )


def _distance(tokens: int, device: torch.device) -> Tensor:
    """How far each token's place (rows) lies behind each other's (columns)."""
    place = torch.arange(tokens, device=device)
    return place.unsqueeze(1) - place


def bias_of(hidden: Tensor) -> Tensor:
    """What to add to scores so that nobody sees what is ``hidden`` (bool, any shape): float32 of 0 and -inf."""
    return torch.zeros(hidden.shape, device=hidden.device).masked_fill_(hidden, float("-inf"))
