"""Sample completions: each prompt is prefilled once, its K rollouts share the cache, finished rollouts leave."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from semalign_pl.policy.decoding import Decoding
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.unshared import UnsharedDecoding
from semalign_pl.types import Rollouts


def sample(
    policy: Policy,
    prompts: list[list[int]],
    *,
    max_new_tokens: int,
    num_generations: int = 1,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
    seed: int = 0,
    rows: int = 128,
) -> Rollouts:
    """Sample ``num_generations`` completions a prompt.

    Randomness is a table of uniforms drawn up front from ``seed``, one a rollout and position, and each token is the
    inverse of its distribution there. So the same seed gives the same tokens however the batch is split (up to
    rounding of the logits), and neither reads nor moves any global random state.

    Args:
        policy: The model; left in the modes it came in, also after an exception.
        prompts: Token ids, one list a prompt.
        max_new_tokens: Longest completion, its EOS included.
        num_generations: Completions a prompt (the group size K).
        temperature: 0 takes the likeliest token (greedy).
        top_p: Nucleus: sample from the smallest set of tokens that holds this probability.
        top_k: Sample from the likeliest k tokens only; 0 for all.
        min_p: Sample only tokens with at least this fraction of the likeliest one's probability.
        seed: Source of the uniforms.
        rows: Rollouts decoded at once; bounds memory, changes nothing else.

    Returns:
        Rollouts on the policy's device.
    """
    count = len(prompts) * num_generations
    uniforms = torch.rand((count, max_new_tokens), generator=torch.Generator().manual_seed(seed))
    choose = chooser(temperature, top_p, top_k, min_p)
    completions: list[list[int]] = [[] for _ in range(count)]
    # Prompts of similar length go together, so that little of a batch is padding.
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    per_batch = max(1, rows // num_generations)
    with policy.inference():
        for chunk in _batches(prompts, order, per_batch, equal=policy.padding_leaks):
            members = [i * num_generations + k for i in chunk for k in range(num_generations)]
            parts = _roll_out(
                policy, [prompts[i] for i in chunk], num_generations, uniforms[members].to(policy.device), choose
            )
            for member, ids in zip(members, parts, strict=True):
                completions[member] = ids
    return _pack(policy, prompts, completions, num_generations)


def _batches(prompts: list[list[int]], order: list[int], size: int, equal: bool) -> Iterator[list[int]]:
    """Numbers of the prompts that are decoded together: ``size`` at most, and of ``equal`` length if need be."""
    for _, group in itertools.groupby(order, key=lambda i: len(prompts[i]) if equal else 0):
        members = list(group)
        for start in range(0, len(members), size):
            yield members[start : start + size]


def _roll_out(
    policy: Policy, prompts: list[list[int]], num_generations: int, uniforms: Tensor, choose: Callable
) -> list[list[int]]:
    """Decode one batch; returns ids a rollout, the EOS included where there is one."""
    decoding = (UnsharedDecoding if policy.cannot_share else Decoding)(policy, prompts, num_generations)
    logits = decoding.prefill()
    eos = torch.tensor(policy.eos_ids, device=policy.device)
    alive = torch.arange(len(uniforms), device=policy.device)
    tokens: list[tuple[Tensor, Tensor]] = []
    for t in range(uniforms.shape[1]):
        chosen = choose(logits, uniforms[alive, t])
        tokens.append((alive, chosen))
        going = ~torch.isin(chosen, eos)
        if t + 1 == uniforms.shape[1] or not going.any():
            break
        if not going.all():
            kept = going.nonzero().squeeze(1)
            alive, chosen = alive[kept], chosen[kept]
            decoding.keep(kept)
        logits = decoding.step(chosen)
    completions: list[list[int]] = [[] for _ in range(len(uniforms))]
    for rows, chosen in tokens:
        for row, token in zip(rows.tolist(), chosen.tolist(), strict=True):
            completions[row].append(token)
    return completions


def chooser(
    temperature: float, top_p: float = 1.0, top_k: int = 0, min_p: float = 0.0
) -> Callable[[Tensor, Tensor], Tensor]:
    """``(logits (rows, vocabulary), uniforms (rows,)) -> ids (rows,)`` with transformers' meaning of the options."""
    from transformers import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    if temperature == 0.0:
        return lambda logits, _: logits.argmax(-1)
    warpers = LogitsProcessorList()
    if temperature != 1.0:
        warpers.append(TemperatureLogitsWarper(temperature))
    if top_k > 0:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1.0:
        warpers.append(TopPLogitsWarper(top_p))
    if min_p > 0.0:
        warpers.append(MinPLogitsWarper(min_p))

    def choose(logits: Tensor, uniforms: Tensor) -> Tensor:
        ids: Any = torch.empty(0, dtype=torch.long)  # these warpers do not look at what came before
        return inverse_cdf(warpers(ids, logits.float()).softmax(-1), uniforms)

    return choose


def inverse_cdf(probabilities: Tensor, uniforms: Tensor) -> Tensor:
    """The token at which the cumulative probability first exceeds ``uniforms``; never one of probability 0.

    Args:
        probabilities: ``(rows, vocabulary)`` float32.
        uniforms: ``(rows,)`` float32 in [0, 1].

    Returns:
        ``(rows,)`` int64.
    """
    cumulative = probabilities.cumsum(-1)
    # Rounding may leave the last value beside 1: scale the draw to it, and stay below it, so that some value exceeds.
    total = cumulative[:, -1]
    targets = (uniforms * total).minimum(total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets.unsqueeze(1), right=True).squeeze(1)


def _pack(policy: Policy, prompts: list[list[int]], completions: list[list[int]], num_generations: int) -> Rollouts:
    longest = max((len(c) for c in completions), default=0)
    padded = [c + [policy.pad_id] * (longest - len(c)) for c in completions]
    lengths = torch.tensor([len(c) for c in completions], device=policy.device)
    return Rollouts(
        prompt_ids=prompts,
        completion_ids=torch.tensor(padded, device=policy.device).view(len(completions), longest),
        completion_mask=torch.arange(longest, device=policy.device) < lengths.unsqueeze(1),
        finished=torch.tensor([bool(c) and c[-1] in policy.eos_ids for c in completions], device=policy.device),
        texts=policy.decode(completions),
        num_generations=num_generations,
    )
