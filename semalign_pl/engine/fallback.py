"""Fallback for architectures whose prompts cannot be shared: transformers' own forward and KV cache."""

from __future__ import annotations

import inspect
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from semalign_pl.engine.model import CausalPolicy


class UnsharedDecodeState:
    """Completions in progress, each with its own KV cache, copied from one prefill of its prompt.

    Prompts of unequal length are padded on the left. Prompts of equal length need no mask, so recurrent and
    convolutional layers see exactly the prompt (``Policy.padding_leaks``).

    Args:
        policy: Model to use; set eval mode and the active adapter first.
        prompts: Token ids of the prompts, one list per prompt.
        num_generations: Number of completions per prompt.
    """

    def __init__(self, policy: CausalPolicy, prompts: list[list[int]], num_generations: int) -> None:
        from transformers import DynamicCache

        self.policy, self.num_generations = policy, num_generations
        longest = max(map(len, prompts))
        padded = [[policy.pad_id] * (longest - len(prompt)) + prompt for prompt in prompts]
        self.ids = torch.tensor(padded, device=policy.device)
        self.mask: Bool[Tensor, "completions tokens"] | None = None
        if min(map(len, prompts)) < longest:
            lengths = torch.tensor([len(prompt) for prompt in prompts], device=policy.device)
            self.mask = torch.arange(longest, device=policy.device) >= longest - lengths.unsqueeze(1)
        self.length = longest
        # Without position ids, Bamba puts every new token at position 0. BLOOM (ALiBi) reads positions from the mask.
        self.positioned = "position_ids" in inspect.signature(policy.decoder.forward).parameters
        self.cache: Any = DynamicCache(config=policy.decoder.config)

    def prefill(self) -> Float[Tensor, "completions vocabulary"]:
        """Forward the prompts; returns the logits of each completion's first token."""
        logits = self._forward(self.ids)
        self.keep([row for row in range(len(logits)) for _ in range(self.num_generations)])
        return logits.repeat_interleave(self.num_generations, 0)

    def step(self, chosen: Int[Tensor, " completions"]) -> Float[Tensor, "completions vocabulary"]:
        """Append a token to each live completion.

        Args:
            chosen: Token id per live completion.

        Returns:
            Logits of the next token.
        """
        self.length += 1
        if self.mask is not None:
            self.mask = torch.cat([self.mask, self.mask.new_ones((len(self.mask), 1))], 1)
        return self._forward(chosen.unsqueeze(1))

    def keep(self, completions: list[int]) -> None:
        """Drop all completions but some.

        Args:
            completions: Indices of the completions to keep, ascending.
        """
        chosen = torch.tensor(completions, device=self.ids.device)
        # Every kind of cache layer can be reordered for beam search; recurrent ones cannot be repeated or selected.
        self.cache.reorder_cache(chosen)
        if self.mask is not None:
            self.mask = self.mask[chosen]

    def _forward(self, ids: Int[Tensor, "completions tokens"]) -> Float[Tensor, "completions vocabulary"]:
        """Logits after the last of ``ids``."""
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


def unshared_hidden(
    policy: CausalPolicy, prompts: list[list[int]], completions: list[list[int]]
) -> Float[Tensor, "tokens hidden"]:
    """Last hidden states that predict each completion token, by one forward of prompt and completion together.

    Rows are padded on the right: in a causal model, recurrent or not, no token depends on what follows it. So no mask
    is needed, and padding cannot leak.

    Args:
        policy: Model to use; set train or eval mode and the active adapter first.
        prompts: Token ids of the prompts, one list per row.
        completions: Token ids of the completions, one list per row; none empty.

    Returns:
        States of the tokens of all completions, row after row.
    """
    rows = [p + c for p, c in zip(prompts, completions, strict=True)]
    longest = max(map(len, rows))
    ids = torch.tensor([row + [policy.pad_id] * (longest - len(row)) for row in rows], device=policy.device)
    hidden = policy.decoder(input_ids=ids, use_cache=False).last_hidden_state.flatten(0, 1)
    # The state of each token predicts the next one.
    places = [
        index * longest + place
        for index, (prompt, row) in enumerate(zip(prompts, rows, strict=True))
        for place in range(len(prompt) - 1, len(row) - 1)
    ]
    return hidden.index_select(0, torch.tensor(places, device=policy.device))
