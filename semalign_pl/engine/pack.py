"""Completions as padded tensors."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from semalign_pl.engine.model import CausalPolicy
from semalign_pl.types import Rollouts


def pack_rollouts(
    policy: CausalPolicy,
    prompts: list[list[int]],
    completions: list[list[int]],
    num_generations: int,
    sampler_logps: Sequence[Sequence[float]] | None = None,
) -> Rollouts:
    """Pad completions on the right, and decode them.

    Args:
        policy: Policy whose token ids they are.
        prompts: Token ids of the prompts, one list per prompt.
        completions: Token ids of the completions, ``num_generations`` lists per prompt.
        num_generations: Number of completions per prompt.
        sampler_logps: Log-probs that the tokens were drawn with, as long as ``completions``; ``None`` if the policy
            itself drew them.

    Returns:
        Rollouts on the policy's device.
    """
    longest = max((len(c) for c in completions), default=0)
    padded = [c + [policy.pad_id] * (longest - len(c)) for c in completions]
    lengths = torch.tensor([len(c) for c in completions], device=policy.device)
    ended = [bool(c) and c[-1] in policy.eos_ids for c in completions]
    # Types and shapes are given, because torch takes an empty list, of a step without prompts, for floats.
    shape = (len(completions), longest)
    logps = None
    if sampler_logps is not None:
        filled = [[*row, *[0.0] * (longest - len(row))] for row in sampler_logps]
        logps = torch.tensor(filled, dtype=torch.float32, device=policy.device).view(shape)
    return Rollouts(
        prompt_ids=prompts,
        completion_ids=torch.tensor(padded, dtype=torch.long, device=policy.device).view(shape),
        completion_mask=torch.arange(longest, device=policy.device) < lengths.unsqueeze(1),
        finished=torch.tensor(ended, dtype=torch.bool, device=policy.device),
        texts=policy.encoder.decode(completions),
        num_generations=num_generations,
        sampler_logps=logps,
    )
