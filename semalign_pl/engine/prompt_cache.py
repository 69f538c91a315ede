"""KV cache of prompts, and the conversion between packed tokens and the padded rows that it has."""

from __future__ import annotations

from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad


class Padding:
    """Conversion between packed tokens and rows padded on the right.

    Args:
        lengths: Number of tokens of each row.
        device: Device of the tokens.

    Attributes:
        shape: Number of rows, and of tokens in the longest.
        mask: Mask of tokens.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.shape = (len(lengths), max(lengths))
        grid = torch.arange(self.shape[1]) < torch.tensor(lengths).unsqueeze(1)
        self.mask: Bool[Tensor, "rows longest"] = grid.to(device)
        self.places = self.sources = None
        if not bool(grid.all()):
            self.places = grid.flatten().nonzero().squeeze(1).to(device)
            # With padding that is a copy of another token, one gather pads queries, keys and values of a layer.
            self.sources = (grid.flatten().cumsum(0) - 1).clamp(min=0).to(device)

    def pad(self, x: Float[Tensor, "tokens ..."]) -> Float[Tensor, "rows longest ..."]:
        """Pad packed tokens with zeros."""
        if self.places is not None:
            x = x.new_zeros((self.shape[0] * self.shape[1], *x.shape[1:])).index_copy(0, self.places, x)
        return x.reshape(*self.shape, *x.shape[1:])

    def pad_heads(self, *tensors: Float[Tensor, "tokens heads dim"]) -> list[Float[Tensor, "rows longest heads dim"]]:
        """Pad queries, keys and values together, with copies of other tokens; nothing may attend to padding."""
        if self.places is None:
            return [x.unflatten(0, self.shape) for x in tensors]
        together = torch.cat(tensors, 1) if len(tensors) > 1 else tensors[0]  # pyright: ignore[reportGeneralTypeIssues]
        padded = _Gather.apply(together, self.sources, self.places).unflatten(0, self.shape)
        return list(padded.split([x.shape[1] for x in tensors], 2))

    def flatten(self, x: Float[Tensor, "rows longest ..."]) -> Float[Tensor, "tokens ..."]:
        """Pack padded rows."""
        x = x.flatten(0, 1)
        return x if self.places is None else x.index_select(0, self.places)


class _GatherContext(Protocol):
    """Values that forward keeps for backward."""

    saved_tensors: tuple[Tensor, ...]

    def save_for_backward(self, *tensors: Tensor) -> None: ...


class _Gather(torch.autograd.Function):
    """Copy rows; only the copies at ``places``, one per row, have a gradient."""

    @staticmethod
    def forward(ctx: _GatherContext, x: Tensor, sources: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return x.index_select(0, sources)

    @staticmethod
    def backward(ctx: _GatherContext, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (places,) = ctx.saved_tensors
        return gradients[0].index_select(0, places), None, None


class PromptCache:
    """KV cache of the prompts, shared by all completions of a prompt.

    Args:
        lengths: Number of tokens of each prompt.
        device: Device of the cache.

    Attributes:
        lengths: Number of tokens of each prompt.
        sizes: ``lengths`` as a list.
        keys: Keys per layer, padded on the right.
        values: Values per layer, padded on the right.
    """

    def __init__(self, lengths: list[int], device: torch.device) -> None:
        self.lengths: Int[Tensor, " prompts"] = torch.tensor(lengths, device=device)
        self.sizes = lengths
        self.longest = max(lengths)
        self.ragged = min(lengths) < self.longest
        self.keys: dict[int, Float[Tensor, "prompts kv_heads longest dim"]] = {}
        self.values: dict[int, Float[Tensor, "prompts kv_heads longest dim"]] = {}

    def select(self, prompts: list[int]) -> PromptCache:
        """Return the cache of some prompts.

        Args:
            prompts: Indices of the prompts.
        """
        chosen = PromptCache([self.sizes[index] for index in prompts], self.lengths.device)
        rows = torch.tensor(prompts, device=self.lengths.device)
        chosen.keys = {layer: cached[rows, :, : chosen.longest] for layer, cached in self.keys.items()}
        chosen.values = {layer: cached[rows, :, : chosen.longest] for layer, cached in self.values.items()}
        return chosen

    def join(self, other: PromptCache) -> PromptCache:
        """Return the cache of these prompts, and after them of others, padded to the longest of both.

        Args:
            other: Cache of the other prompts, with the same layers; emptied, so that no layer is there twice for long.
        """
        joined = PromptCache([*self.sizes, *other.sizes], self.lengths.device)
        for into, own, new in ((joined.keys, self.keys, other.keys), (joined.values, self.values, other.values)):
            for layer in list(own):
                both = own.pop(layer), new.pop(layer)
                into[layer] = torch.cat([pad(one, (0, 0, 0, joined.longest - one.shape[2])) for one in both])
        return joined

    def bias(
        self, start: int, tokens: int, window: int | None, starts: Int[Tensor, "prompts rows"] | None = None
    ) -> Float[Tensor, "prompts rows queries longest"] | None:
        """Additive attention mask from completion tokens to prompt keys: masks padding and keys outside the window.

        Args:
            start: Index of the first of the tokens in its completion; the largest of ``starts``, if given.
            tokens: Number of tokens per completion.
            window: Size of the sliding window, as in ``PackedBatch.attend``.
            starts: Index of the first of the tokens per completion, if completions differ.

        Returns:
            Float32 of 0 and -inf, for one row if the mask is the same for all completions, and for one query if it is
            the same for all tokens; ``None`` if nothing is masked.
        """
        all_in_window = window is None or self.longest + start + tokens <= window
        if all_in_window and not self.ragged:
            return None
        device = self.lengths.device
        key = torch.arange(self.longest, device=device)
        masked = (key >= self.lengths.unsqueeze(1))[:, None, None]
        if window is not None and not all_in_window:
            first = self.lengths.unsqueeze(1) + (start if starts is None else starts)
            position = first.unsqueeze(-1) + torch.arange(tokens, device=device)
            masked = masked | (position.unsqueeze(-1) - key >= window)
        return bias_of(masked)


def bias_of(masked: Bool[Tensor, " *dims"]) -> Float[Tensor, " *dims"]:
    """Additive attention mask, float32 of 0 and -inf, from a mask that is true where attention is not allowed."""
    return torch.zeros(masked.shape, device=masked.device).masked_fill_(masked, float("-inf"))
