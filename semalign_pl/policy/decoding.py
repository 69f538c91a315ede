"""One token after another for many rollouts: the prompts' cache is shared, and finished rollouts give up their rows."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor

from semalign_pl.functional.attention import shared_prompt_attention
from semalign_pl.policy.layout import Prefix, Sequences, bias_of, decode
from semalign_pl.policy.policy import Policy

FIRST_ROOM_TOKENS = 32


class Decoding:
    """Rollouts in progress: a layout of one token a live rollout, behind prompts that are held once.

    Args:
        policy: In the mode and role the caller has set.
        prompts: Token ids, one list a prompt.
        num_generations: Rollouts a prompt.

    Attributes:
        slot: ``(rollouts,)`` int64: where each live rollout stands in the cache, which has as many slots a prompt as
            the fullest group has rollouts.
    """

    def __init__(self, policy: Policy, prompts: list[list[int]], num_generations: int) -> None:
        self.policy = policy
        self.prompts = Sequences(prompts, policy.device, keep=True)
        self.prefix = cast(Prefix, self.prompts.prefix)
        self.slots = num_generations
        self.slot = torch.arange(len(prompts) * num_generations, device=policy.device)
        self.length = 0
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def prefill(self) -> Tensor:
        """Run the prompts; returns the first tokens' logits ``(rollouts, vocabulary)``."""
        last = decode(self.policy, self.prompts)[self.prompts.last]
        return self.policy.head(last)[self.slot // self.slots]

    def step(self, chosen: Tensor) -> Tensor:
        """Append a token to each live rollout.

        Args:
            chosen: ``(rollouts,)`` int64.

        Returns:
            Logits of the next one ``(rollouts, vocabulary)``.
        """
        self.ids = chosen.unsqueeze(0)
        self.biases: dict[int | None, tuple[Tensor | None, Tensor | None]] = {}
        self.positions = (self.prefix.lengths[self.slot // self.slots] + self.length).unsqueeze(0)
        hidden = decode(self.policy, self)
        self.length += 1
        return self.policy.head(hidden)

    def keep(self, rollouts: Tensor) -> None:
        """Let the others go; the cache is packed anew once a quarter of it is theirs.

        Args:
            rollouts: Numbers of those that stay, ascending.
        """
        self.slot = self.slot[rollouts]
        groups = len(self.prefix.lengths)
        if len(self.slot) > 0.75 * groups * self.slots:
            return
        group = self.slot // self.slots
        live, group, counts = group.unique_consecutive(return_inverse=True, return_counts=True)
        slots = int(counts.max())
        first = counts.cumsum(0) - counts
        slot = group * slots + torch.arange(len(group), device=group.device) - first[group]
        taken = slot.new_zeros(len(live) * slots).index_copy(0, slot, self.slot)  # an empty slot holds anything
        for cache in (self.keys, self.values):
            for layer, held in cache.items():
                cache[layer] = held[taken]
        if len(live) < groups:
            self.prefix = self.prefix.select(live)
        self.slot, self.slots = slot, slots

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scale: float, window: int | None) -> Tensor:
        """See ``Layout``."""
        self._append(self.keys, layer, key)
        self._append(self.values, layer, value)
        now, groups = self.length + 1, len(self.prefix.lengths)
        q = query
        if len(self.slot) < groups * self.slots:
            q = query.new_zeros((groups * self.slots, *query.shape[1:])).index_copy(0, self.slot, query)
        if window not in self.biases:
            far = torch.arange(now, device=q.device) <= now - 1 - (window or now)
            own = bias_of(far).view(1, 1, 1, -1) if window is not None and window < now else None
            self.biases[window] = self.prefix.bias(self.length, 1, window), own
        output = shared_prompt_attention(
            q.view(groups, self.slots, -1, 1, q.shape[-1]),
            self.prefix.keys[layer],
            self.prefix.values[layer],
            self.keys[layer][:, :, :now].unflatten(0, (groups, self.slots)),
            self.values[layer][:, :, :now].unflatten(0, (groups, self.slots)),
            scale,
            *self.biases[window],
        ).flatten(0, 1)[:, :, 0]
        return output if len(self.slot) == len(output) else output[self.slot]

    def _append(self, cache: dict[int, Tensor], layer: int, new: Tensor) -> None:
        """Write ``(rollouts, kv_heads, dim)`` behind what is there; room doubles when it is full."""
        held = cache.get(layer)
        if held is None or held.shape[2] == self.length:
            rows, room = len(self.prefix.lengths) * self.slots, max(FIRST_ROOM_TOKENS, 2 * self.length)
            wider = new.new_zeros((rows, new.shape[1], room, new.shape[2]))
            if held is not None:
                wider[:, :, : self.length] = held
            cache[layer] = held = wider
        held[self.slot, :, self.length] = new
