"""Prompts that begin with the same tokens, which are then forwarded only once per group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SHORTEST_PREFIX = 24
"""Minimum number of tokens, per completion of a prompt, of a prefix that is shared.

Sharing costs a forward pass of the suffixes, and their attention once per completion. Measured on the miniature world's
base with 24 tokens after the prefix and 16 decoded, it breaks even below 16 tokens with one completion per prompt, and
at 64 with eight. So the head of a chat template changes nothing in rollouts.
"""
LONGEST_SUFFIX = 256
"""Maximum number of tokens of a suffix. Its attention holds a score per query and key, in contrast to the fused
attention of a whole prompt, so that its memory grows with the product of both."""

SAVED_SHARE = 0.25
"""Minimum share of a micro-batch's tokens that a common head of its prompts has to save. Attention to a shared head is
not fused, so that less would not pay."""


@dataclass(frozen=True)
class PromptGroup:
    """Prompts that begin with the same tokens.

    Attributes:
        members: Indices of the prompts.
        shared: Number of tokens that they share from the first on; all tokens of a prompt that is alone.
    """

    members: tuple[int, ...]
    shared: int


def group_by_prefix(prompts: list[list[int]], largest: int, num_generations: int = 1) -> list[PromptGroup]:
    """Partition prompts into groups that share a prefix, so that the number of tokens saved is as large as possible.

    A group of m prompts saves m - 1 times its prefix. A group's prompts are neighbours in lexicographic order, where
    those with the longest common prefixes are; dynamic programming over that order finds the best such partition.

    Args:
        prompts: Token ids of the prompts.
        largest: Maximum number of prompts per group.
        num_generations: Number of completions per prompt.

    Returns:
        Groups, each prompt in exactly one of them. Prompts whose common prefix is too short, or whose suffixes are too
        long, are alone.
    """
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    common = [_common_prefix(prompts[a], prompts[b]) for a, b in zip(order, order[1:], strict=False)]
    saved, best = [0], [PromptGroup((), 0)]  # of the first n prompts in order: tokens saved, and the last group
    for end in range(1, len(order) + 1):
        longest = shared = len(prompts[order[end - 1]])
        saved.append(saved[end - 1])
        best.append(PromptGroup((order[end - 1],), shared))
        for start in range(end - 2, max(0, end - largest) - 1, -1):
            longest, shared = max(longest, len(prompts[order[start]])), min(shared, common[start])
            if shared < SHORTEST_PREFIX * num_generations or longest - shared > LONGEST_SUFFIX:
                break
            tokens = saved[start] + (end - start - 1) * shared
            if tokens > saved[end]:
                saved[end], best[end] = tokens, PromptGroup(tuple(order[start:end]), shared)
    groups, end = [], len(order)
    while end > 0:
        groups.append(best[end])
        end -= len(best[end].members)
    return groups[::-1]


def shared_head(prompts: Sequence[list[int]], rows: Sequence[list[int]]) -> int:
    """Number of tokens at the start of all prompts that are worth a single forward, such as a template's system text.

    Args:
        prompts: Token ids of the prompts, all different.
        rows: Token ids of each prompt with its completion.

    Returns:
        Number of tokens, less than the shortest prompt has; 0 if sharing them would not pay.
    """
    if len(prompts) < 2:
        return 0
    head = min(_common_prefix(min(prompts), max(prompts)), min(map(len, prompts)) - 1)
    saved, longest = (len(rows) - 1) * head, max(map(len, rows)) - head
    pays = head >= SHORTEST_PREFIX and longest <= LONGEST_SUFFIX and saved >= SAVED_SHARE * sum(map(len, rows))
    return head if pays else 0


def _common_prefix(one: Sequence[int], other: Sequence[int]) -> int:
    """Number of tokens that two prompts share from the first on."""
    shortest = min(len(one), len(other))
    return next((i for i, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), shortest)
