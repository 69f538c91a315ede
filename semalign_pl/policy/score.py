"""Log-probabilities of given completions."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from semalign_pl.functional.logprobs import entropy, selected_logprobs
from semalign_pl.policy.policy import Policy


@dataclass(frozen=True)
class Rows:
    """Completions to score, each behind its prompt.

    Attributes:
        prompts: Token ids, one list a row.
        completion_ids: ``(rows, tokens)`` int64, padded on the right.
        mask: ``(rows, tokens)`` bool, true on the tokens that count.
    """

    prompts: list[list[int]]
    completion_ids: Tensor
    mask: Tensor

    def micro_batches(self, size: int) -> Iterator[tuple[Tensor, Rows]]:
        """Split by length: at most ``size`` rows each, similar lengths together, padding trimmed.

        Args:
            size: Rows a micro-batch.

        Yields:
            The rows' indices ``(micro,)`` int64 and the rows themselves.
        """
        if not self.prompts:  # torch would split nothing into one empty part
            return
        lengths = self.mask.sum(1).cpu()
        total = lengths + torch.tensor([len(p) for p in self.prompts])
        for index in total.argsort(descending=True, stable=True).split(size):
            longest = max(int(lengths[index].max()), 1)
            on_device = index.to(self.mask.device)
            yield on_device, self.select(index.tolist(), longest)

    def select(self, index: list[int], tokens: int | None = None) -> Rows:
        """The rows at ``index``, cut to ``tokens`` columns.

        Args:
            index: Row numbers.
            tokens: Columns to keep; all when ``None``.
        """
        return Rows([self.prompts[i] for i in index], self.completion_ids[index, :tokens], self.mask[index, :tokens])


def completion_logits(policy: Policy, rows: Rows) -> Tensor:
    """Logits that predict each completion token; the first is predicted from the prompt's last token.

    Each distinct prompt is forwarded once and its cache, through which gradients flow, is shared by its rows. A cache
    that cannot be shared (sliding windows, recurrent states) leaves each row to be forwarded whole.

    Args:
        policy: The model, in the mode and role the caller has set.
        rows: What to score.

    Returns:
        ``(rows, tokens, vocabulary)`` in the model's dtype. Computed on completion positions only.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=policy.model.config)
    if any(cache.is_sliding) or any(cache.is_linear):
        return _unshared_logits(policy, rows)
    distinct = {tuple(prompt): None for prompt in rows.prompts}
    place = {prompt: i for i, prompt in enumerate(distinct)}
    index = torch.tensor([place[tuple(prompt)] for prompt in rows.prompts], device=policy.device)
    prompt_ids, prompt_mask = _pad_left(policy, [list(prompt) for prompt in distinct])
    first = policy.model(
        input_ids=prompt_ids,
        attention_mask=prompt_mask.long(),
        position_ids=_positions(prompt_mask),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    ).logits[index]
    tokens = rows.completion_ids.shape[1]
    if tokens < 2:
        return first[:, :tokens]
    cache.batch_select_indices(index)
    mask = torch.cat([prompt_mask[index], rows.mask[:, :-1]], 1)
    rest = policy.model(
        input_ids=rows.completion_ids[:, :-1],
        attention_mask=mask.long(),
        position_ids=_positions(mask)[:, prompt_ids.shape[1] :],
        past_key_values=cache,
        use_cache=True,
    ).logits
    return torch.cat([first, rest], 1)


def _unshared_logits(policy: Policy, rows: Rows) -> Tensor:
    prompt_ids, prompt_mask = _pad_left(policy, rows.prompts)
    mask = torch.cat([prompt_mask, rows.mask], 1)
    return policy.model(
        input_ids=torch.cat([prompt_ids, rows.completion_ids], 1),
        attention_mask=mask.long(),
        position_ids=_positions(mask),
        use_cache=False,
        logits_to_keep=rows.completion_ids.shape[1] + 1,
    ).logits[:, :-1]


def _pad_left(policy: Policy, prompts: list[list[int]]) -> tuple[Tensor, Tensor]:
    """Ids and mask ``(prompts, longest)``."""
    longest = max(map(len, prompts))
    ids = torch.tensor([[policy.pad_id] * (longest - len(p)) + p for p in prompts], device=policy.device)
    lengths = torch.tensor([len(p) for p in prompts], device=policy.device)
    return ids, torch.arange(longest, device=policy.device) >= longest - lengths.unsqueeze(1)


def _positions(mask: Tensor) -> Tensor:
    return (mask.long().cumsum(1) - 1).clamp(min=0)


def score(policy: Policy, rows: Rows, temperature: float = 1.0, with_entropy: bool = False) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the completions, and the entropy at each of their positions.

    Args:
        policy: The model, in the mode and role the caller has set; gradients flow if they are on.
        rows: What to score.
        temperature: Divides the logits.
        with_entropy: Compute the entropy too (without gradient); else it is zeros.

    Returns:
        Log-probs and entropy, each ``(rows, tokens)`` float32 in nats; arbitrary where the mask is false.
    """
    logits = completion_logits(policy, rows)
    logps = selected_logprobs(logits, rows.completion_ids, temperature)
    with torch.no_grad():
        spread = entropy(logits.detach(), temperature) if with_entropy else torch.zeros_like(logps)
    return logps, spread


@torch.no_grad()
def score_all(policy: Policy, rows: Rows, temperature: float, micro_batch_size: int) -> Tensor:
    """Log-probabilities without gradient or dropout, in micro-batches.

    Args:
        policy: The model, in the role the caller has set.
        rows: What to score.
        temperature: Divides the logits.
        micro_batch_size: Rows a forward.

    Returns:
        ``(rows, tokens)`` float32 in nats; 0 where the mask is false.
    """
    logps = torch.zeros(rows.mask.shape, device=rows.mask.device)
    with policy.inference():
        for index, micro in rows.micro_batches(micro_batch_size):
            part, _ = score(policy, micro, temperature)
            logps[index, : part.shape[1]] = part.masked_fill(~micro.mask, 0.0)
    return logps
