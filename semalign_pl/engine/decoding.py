"""Token-by-token decoding of many completions; prompts share their KV cache, finished completions leave the batch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from semalign_pl.engine.attention import shared_prompt_attention
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.packed_batch import PackedSequences, bias_of, decode

FIRST_ROOM_TOKENS = 32
"""Number of tokens per completion that a new cache has room for."""


class DecodeState:
    """Completions in progress: a packed batch of one token per live completion, with one KV cache per prompt.

    Args:
        policy: Model to use; set eval mode and the active adapter first.
        prompts: Token ids of the prompts, one list per prompt.
        num_generations: Number of completions per prompt.

    Attributes:
        slot: Index of each live completion in the cache. Every prompt has the same number of slots there, as many as
            the largest group has live completions.
    """

    def __init__(self, policy: CausalPolicy, prompts: list[list[int]], num_generations: int) -> None:
        self.policy = policy
        self.prompts = PackedSequences(prompts, policy.device, keep=True)
        assert self.prompts.prompt_cache is not None
        self.prompt_cache = self.prompts.prompt_cache
        self.slots = num_generations
        self.slot: Int[Tensor, " completions"] = torch.arange(len(prompts) * num_generations, device=policy.device)
        self.length = 0
        self.keys: dict[int, Float[Tensor, "slots kv_heads room dim"]] = {}
        self.values: dict[int, Float[Tensor, "slots kv_heads room dim"]] = {}

    def prefill(self) -> Float[Tensor, "completions vocabulary"]:
        """Forward the prompts; returns the logits of each completion's first token."""
        # Once per prompt: its completions start from the same last state, and read the same keys and values.
        last = decode(self.policy, self.prompts)[self.prompts.last]
        return self.policy.head(last)[self.slot // self.slots]

    def step(self, chosen: Int[Tensor, " completions"]) -> Float[Tensor, "completions vocabulary"]:
        """Append a token to each live completion.

        Args:
            chosen: Token id per live completion.

        Returns:
            Logits of the next token.
        """
        self.ids = chosen.unsqueeze(0)
        self.biases: dict[int | None, tuple[Tensor | None, Tensor | None]] = {}
        self.positions = (self.prompt_cache.lengths[self.slot // self.slots] + self.length).unsqueeze(0)
        hidden = decode(self.policy, self)
        self.length += 1
        return self.policy.head(hidden)

    def keep(self, completions: Int[Tensor, " kept"]) -> None:
        """Drop all completions but some.

        Args:
            completions: Indices of the completions to keep, ascending.
        """
        self.slot = self.slot[completions]
        groups = len(self.prompt_cache.lengths)
        # Copying the cache costs about as much as some steps over empty slots: wait until a quarter of it is empty.
        if len(self.slot) > 0.75 * groups * self.slots:
            return
        # 1. New slots: live completions move together, and groups without any disappear.
        group = self.slot // self.slots
        live, group, counts = group.unique_consecutive(return_inverse=True, return_counts=True)
        slots = int(counts.max())
        first = counts.cumsum(0) - counts
        slot = group * slots + torch.arange(len(group), device=group.device) - first[group]
        # 2. Gather the old slots' keys and values; the output of an empty slot is never read.
        source = slot.new_zeros(len(live) * slots).index_copy(0, slot, self.slot)
        for cache in (self.keys, self.values):
            for layer, cached in cache.items():
                cache[layer] = cached[source]
        if len(live) < groups:
            self.prompt_cache = self.prompt_cache.select(live)
        self.slot, self.slots = slot, slots

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """Attention output of one layer, as in ``PackedBatch``; appends this step's keys and values to the cache."""
        self._append(self.keys, layer, key)
        self._append(self.values, layer, value)
        tokens, groups = self.length + 1, len(self.prompt_cache.lengths)
        q = query
        # Empty slots get a query of zeros: attention is one product per prompt, so that its keys are read only once.
        if len(self.slot) < groups * self.slots:
            q = query.new_zeros((groups * self.slots, *query.shape[1:])).index_copy(0, self.slot, query)
        if window not in self.biases:
            # Every live completion has as many tokens, so one mask serves all; it is needed only if the window is full.
            masked = torch.arange(tokens, device=q.device) <= tokens - 1 - (window or tokens)
            own = bias_of(masked).view(1, 1, 1, -1) if window is not None and window < tokens else None
            self.biases[window] = self.prompt_cache.bias(self.length, 1, window), own
        output = shared_prompt_attention(
            q.view(groups, self.slots, -1, 1, q.shape[-1]),
            self.prompt_cache.keys[layer],
            self.prompt_cache.values[layer],
            self.keys[layer][:, :, :tokens].unflatten(0, (groups, self.slots)),
            self.values[layer][:, :, :tokens].unflatten(0, (groups, self.slots)),
            scale,
            *self.biases[window],
        ).flatten(0, 1)[:, :, 0]
        return output if len(self.slot) == len(output) else output[self.slot]

    def _append(self, cache: dict[int, Tensor], layer: int, new: Float[Tensor, "completions kv_heads dim"]) -> None:
        """Append keys or values of this step to a layer's cache."""
        cached = cache.get(layer)
        # The room doubles when it is full: a concatenation per step would copy the whole cache for every token.
        if cached is None or cached.shape[2] == self.length:
            rows, room = len(self.prompt_cache.lengths) * self.slots, max(FIRST_ROOM_TOKENS, 2 * self.length)
            wider = new.new_zeros((rows, new.shape[1], room, new.shape[2]))
            if cached is not None:
                wider[:, :, : self.length] = cached
            cache[layer] = cached = wider
        cached[self.slot, :, self.length] = new
