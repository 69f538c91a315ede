"""Settings of sampling, and token ids of rollouts."""

from semalign_pl.engine.generate import generate
from semalign_pl.types import Rollouts

HOT = {"max_new_tokens": 12, "temperature": 0.8, "top_p": 0.9, "seed": 7}


def ids(rollouts: Rollouts) -> list[list[int]]:
    pairs = zip(rollouts.completion_ids, rollouts.completion_mask, strict=True)
    return [row[mask].tolist() for row, mask in pairs]


def common(policy, prompts, count: int = 40) -> tuple[int, ...]:
    """The tokens that this policy samples most, used as EOS so that completions end at many lengths."""
    rollouts = generate(policy, prompts, num_generations=4, **{**HOT, "max_new_tokens": 20})
    return tuple(rollouts.completion_ids.flatten().bincount().argsort(descending=True)[:count].tolist())
