"""For architectures whose cache cannot be shared by a layout: transformers' own forward and cache."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from semalign_pl.policy.policy import Policy


class UnsharedDecoding:
    """Rollouts in progress, each with a cache of its own, repeated from one prefill of its prompt.

    Args:
        policy: In the mode and role the caller has set.
        prompts: Token ids, one list a prompt.
        num_generations: Rollouts a prompt.
    """

    def __init__(self, policy: Policy, prompts: list[list[int]], num_generations: int) -> None:
        from transformers import DynamicCache

        self.policy, self.num_generations = policy, num_generations
        self.ids, self.mask = _pad_left(policy, prompts)
        self.cache: Any = DynamicCache(config=policy.model.config)

    def prefill(self) -> Tensor:
        """Run the prompts; returns the first tokens' logits ``(rollouts, vocabulary)``."""
        logits = self._forward(self.ids, _positions(self.mask)).repeat_interleave(self.num_generations, 0)
        self.cache.batch_repeat_interleave(self.num_generations)
        self.mask = self.mask.repeat_interleave(self.num_generations, 0)
        return logits

    def step(self, chosen: Tensor) -> Tensor:
        """Append a token to each live rollout.

        Args:
            chosen: ``(rollouts,)`` int64.

        Returns:
            Logits of the next one ``(rollouts, vocabulary)``.
        """
        self.mask = torch.cat([self.mask, self.mask.new_ones((len(self.mask), 1))], 1)
        return self._forward(chosen.unsqueeze(1), _positions(self.mask)[:, -1:])

    def keep(self, rollouts: Tensor) -> None:
        """Let the others go.

        Args:
            rollouts: Numbers of those that stay, ascending.
        """
        self.mask = self.mask[rollouts]
        self.cache.batch_select_indices(rollouts)

    def _forward(self, ids: Tensor, positions: Tensor) -> Tensor:
        return self.policy.model(
            input_ids=ids,
            attention_mask=self.mask.long(),
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            logits_to_keep=1,
        ).logits[:, -1]


def unshared_logits(policy: Policy, prompts: list[list[int]], completions: list[list[int]]) -> Tensor:
    """Logits that predict each completion token, by one forward of every row as a whole.

    Args:
        policy: In the mode and role the caller has set.
        prompts: Token ids, one list a row.
        completions: Token ids, one list a row; none empty.

    Returns:
        ``(tokens of all completions, vocabulary)`` in the model's dtype, row after row.
    """
    rows = [p + c for p, c in zip(prompts, completions, strict=True)]
    ids, mask = _pad_left(policy, rows)
    longest = max(map(len, completions))
    logits = policy.model(
        input_ids=ids,
        attention_mask=mask.long(),
        position_ids=_positions(mask),
        use_cache=False,
        logits_to_keep=longest + 1,
    ).logits[:, :-1]
    lengths = torch.tensor([len(c) for c in completions], device=ids.device)
    return logits[torch.arange(longest, device=ids.device) >= longest - lengths.unsqueeze(1)]


def _pad_left(policy: Policy, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask ``(rows, longest)``."""
    longest = max(map(len, rows))
    ids = torch.tensor([[policy.pad_id] * (longest - len(row)) + row for row in rows], device=policy.device)
    lengths = torch.tensor([len(row) for row in rows], device=policy.device)
    return ids, torch.arange(longest, device=policy.device) >= longest - lengths.unsqueeze(1)


def _positions(mask: Tensor) -> Tensor:
    return (mask.long().cumsum(1) - 1).clamp(min=0)
