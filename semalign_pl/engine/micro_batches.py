"""Micro-batches by a token budget, so that memory depends neither on the batch size nor on the group size."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Completions:
    """Prompts and completions to forward.

    Attributes:
        prompts: Token ids of the prompts, one list per row.
        completions: Token ids of the completions, one list per row; an empty one costs nothing.
        temperatures: Temperature of the logits, one per row; ``None`` for 1.
    """

    prompts: list[list[int]]
    completions: list[list[int]]
    temperatures: list[float] | None = None

    @property
    def tokens(self) -> int:
        """Number of completion tokens."""
        return sum(map(len, self.completions))


@dataclass
class MicroBatch:
    """Prompts that are forwarded together, once, and their completions.

    Attributes:
        prompts: Token ids of the distinct prompts.
        chunks: Row indices of the completions that are forwarded together, per chunk and prompt. More than one chunk
            only if a single group exceeds the budget.
    """

    prompts: list[list[int]] = field(default_factory=list)
    chunks: list[list[list[int]]] = field(default_factory=list)


def micro_batches(rows: Completions, budget: int) -> list[MicroBatch]:
    """Group completions by prompt, and pack groups of similar length up to a token budget.

    Args:
        rows: Completions to forward; empty ones are left out.
        budget: Maximum number of tokens per forward, prompts and completions together. A group that exceeds it is split
            into chunks, and its prompt is still forwarded once; only a single row may then be larger.

    Returns:
        Micro-batches, longest first, so that running out of memory happens at the start.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for row, (prompt, completion) in enumerate(zip(rows.prompts, rows.completions, strict=True)):
        if completion:
            groups.setdefault(tuple(prompt), []).append(row)
    length = [len(completion) for completion in rows.completions]
    for members in groups.values():
        members.sort(key=lambda row: -length[row])
    batches: list[MicroBatch] = []
    room = 0
    for prompt, members in sorted(groups.items(), key=lambda group: (-len(group[0]), -length[group[1][0]])):
        size = len(prompt) + sum(length[row] for row in members)
        if size > budget:
            chunks = _fill(members, length, budget - len(prompt))
            batches.append(MicroBatch([list(prompt)], [[chunk] for chunk in chunks]))
            room = 0
            continue
        if size > room:
            batches.append(MicroBatch([], [[]]))
            room = budget
        batches[-1].prompts.append(list(prompt))
        batches[-1].chunks[0].append(members)
        room -= size
    return batches


def _fill(members: list[int], length: list[int], budget: int) -> list[list[int]]:
    """Split the rows of one group into chunks of at most ``budget`` completion tokens."""
    chunks: list[list[int]] = []
    room = 0
    for row in members:
        if not chunks or length[row] > room:
            chunks.append([])
            room = budget
        chunks[-1].append(row)
        room -= length[row]
    return chunks
