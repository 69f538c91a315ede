"""Speculative reuse of completions: those of an earlier policy are drafts for the present one (SPEC-RL, 2509.23232).

SPEC-RL accepts a draft's token with probability min(1, p_new / p_old). Here each token is drawn by a uniform of its
completion and position. With the same uniforms as before, a token is accepted if the present policy draws it again. So
completions are those that the present policy samples without drafts, and no old probabilities are needed.
"""

from __future__ import annotations

from collections.abc import Callable

from jaxtyping import Float
from torch import Tensor

Places = list[tuple[int, int]]
"""Index of a completion, and index of a token in it."""
DraftSampler = Callable[[Float[Tensor, "places vocabulary"], Places], list[int]]
"""Function from logits and their places to token ids."""
LONGEST_DRAFT = 256
"""Maximum number of tokens of a draft. Its attention holds a score per query and key, as that of a suffix."""
CHECKED_TOKENS = 16
"""Number of tokens per draft that are sampled at once: few are wasted after a rejected one, and logits need little
memory."""


def count_accepted(
    drafts: list[list[int]], logits: Callable[[Places], Float[Tensor, "places vocabulary"]], sample: DraftSampler
) -> list[int]:
    """Number of tokens of each draft before the first one that is not sampled at its place.

    Args:
        drafts: Token ids of the drafts.
        logits: Function that returns the logits of some tokens of drafts.
        sample: Sampler.
    """
    accepted = [0] * len(drafts)
    live = [i for i, draft in enumerate(drafts) if draft]
    while live:
        places = [(i, at) for i in live for at in range(accepted[i], min(accepted[i] + CHECKED_TOKENS, len(drafts[i])))]
        rejected = set[int]()
        for (i, at), token in zip(places, sample(logits(places), places), strict=True):
            if i not in rejected and token == drafts[i][at]:
                accepted[i] += 1
            else:
                rejected.add(i)
        live = [i for i in live if i not in rejected and accepted[i] < len(drafts[i])]
    return accepted
