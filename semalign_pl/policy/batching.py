"""Micro-batches by a budget of tokens, so that memory depends neither on the batch nor on the group size."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Rows:
    """Completions to score, each behind its prompt.

    Attributes:
        prompts: Token ids, one list a row.
        completions: Token ids of what counts, one list a row; an empty one costs nothing.
        temperatures: What divides the logits, one a row; 1 everywhere if left out.
    """

    prompts: list[list[int]]
    completions: list[list[int]]
    temperatures: list[float] | None = None

    @property
    def tokens(self) -> int:
        """Tokens of all completions."""
        return sum(map(len, self.completions))


@dataclass
class MicroBatch:
    """Prompts that are forwarded together, once, and what stands behind them.

    Attributes:
        prompts: Distinct prompts.
        parts: Forwards of completions; each a list of row numbers a prompt. One part, unless a single group exceeds
            the budget.
    """

    prompts: list[list[int]] = field(default_factory=list)
    parts: list[list[list[int]]] = field(default_factory=list)


def micro_batches(rows: Rows, budget: int) -> list[MicroBatch]:
    """Group rows by prompt and pack groups of similar length up to a budget.

    Args:
        rows: What to score; rows without tokens are left out.
        budget: Tokens forwarded at once, those of prompts and completions together. A group that exceeds it is split,
            its prompt still forwarded once; only a single row may then be larger.

    Returns:
        Longest first, so that what does not fit in memory fails at once.
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
            parts = _fill(members, length, budget - len(prompt))
            batches.append(MicroBatch([list(prompt)], [[part] for part in parts]))
            room = 0
            continue
        if size > room:
            batches.append(MicroBatch([], [[]]))
            room = budget
        batches[-1].prompts.append(list(prompt))
        batches[-1].parts[0].append(members)
        room -= size
    return batches


def _fill(members: list[int], length: list[int], budget: int) -> list[list[int]]:
    parts: list[list[int]] = []
    room = 0
    for row in members:
        if not parts or length[row] > room:
            parts.append([])
            room = budget
        parts[-1].append(row)
        room -= length[row]
    return parts
