"""For architectures whose prompts cannot be shared through a layout: transformers' own forward and cache."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch import Tensor

from semalign_pl.policy.policy import Policy


class UnsharedDecoding:
    """Rollouts in progress, each with a cache of its own, copied from one prefill of its prompt.

    Prompts of unequal length are padded in front. Prompts of equal length need no mask, so recurrent and convolutional
    layers see exactly the prompt (``Policy.padding_leaks``).

    Args:
        policy: Model to use; set eval mode and the role first.
        prompts: Token ids, one list per prompt.
        num_generations: Rollouts per prompt.
    """

    def __init__(self, policy: Policy, prompts: list[list[int]], num_generations: int) -> None:
        from transformers import DynamicCache

        self.policy, self.num_generations = policy, num_generations
        longest = max(map(len, prompts))
        padded = [[policy.pad_id] * (longest - len(prompt)) + prompt for prompt in prompts]
        self.ids = torch.tensor(padded, device=policy.device)
        self.mask: Tensor | None = None
        if min(map(len, prompts)) < longest:
            lengths = torch.tensor([len(prompt) for prompt in prompts], device=policy.device)
            self.mask = torch.arange(longest, device=policy.device) >= longest - lengths.unsqueeze(1)
        self.length = longest
        # Left to itself, Bamba places every new token at 0. BLOOM (ALiBi) takes its positions from the mask.
        self.positioned = "position_ids" in inspect.signature(policy.decoder.forward).parameters
        self.cache: Any = DynamicCache(config=policy.decoder.config)

    def prefill(self) -> Tensor:
        """Run the prompts; returns the first tokens' logits ``(rollouts, vocabulary)``."""
        logits = self._forward(self.ids)
        self.keep(torch.arange(len(logits), device=logits.device).repeat_interleave(self.num_generations))
        return logits.repeat_interleave(self.num_generations, 0)

    def step(self, chosen: Tensor) -> Tensor:
        """Append a token to each live rollout.

        Args:
            chosen: ``(rollouts,)`` int64.

        Returns:
            Logits of the next one ``(rollouts, vocabulary)``.
        """
        self.length += 1
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones((len(self.mask), 1))], 1)
        return self._forward(chosen.unsqueeze(1))

    def keep(self, rollouts: Tensor) -> None:
        """Drop all rollouts but some.

        Args:
            rollouts: Numbers of the rollouts to keep, ascending.
        """
        # Every kind of cache layer can be reordered for beam search; recurrent ones cannot be repeated or selected.
        self.cache.reorder_cache(rollouts)
        if self.mask is not None:
            self.mask = self.mask[rollouts]

    def _forward(self, ids: Tensor) -> Tensor:
        """Logits ``(rollouts, vocabulary)`` after the last of ``ids`` ``(rollouts, tokens)``."""
        tokens, options = ids.shape[1], {}
        if self.mask is not None:
            options["attention_mask"] = self.mask.long()
        if self.positioned:
            if self.mask is None:
                positions = torch.arange(self.length - tokens, self.length, device=ids.device).expand(len(ids), -1)
            else:
                positions = (self.mask.long().cumsum(1) - 1).clamp(min=0)[:, -tokens:]
            options["position_ids"] = positions
        output = self.policy.decoder(input_ids=ids, past_key_values=self.cache, use_cache=True, **options)
        return self.policy.head(output.last_hidden_state[:, -1])


def unshared_hidden(policy: Policy, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
    """Last hidden states that predict each completion token, by one forward of whole rows.

    Rows are padded at their end: no causal model, recurrent or not, lets a token see what follows it. So no mask is
    needed, and none can leak.

    Args:
        policy: Model to use; set the mode and the role first.
        prompts: Token ids, one list per row.
        completions: Token ids, one list per row; none empty.

    Returns:
        ``(tokens of all completions, hidden)``, row after row.
    """
    rows = [p + c for p, c in zip(prompts, completions, strict=True)]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [policy.pad_id] * (longest - len(row)) for row in rows], device=policy.device)
    hidden = policy.decoder(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
    # Each token is predicted by the state of the one before it.
    places = [
        index * longest + place
        for index, (prompt, row) in enumerate(zip(prompts, rows, strict=True))
        for place in range(len(prompt) - 1, len(row) - 1)
    ]
    return hidden.index_select(0, torch.tensor(places, device=policy.device))
