"""Micro-batches by a token budget, so that memory depends neither on the batch size nor on the group size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from semalign_pl.engine.targets import Target


@dataclass(frozen=True)
class Completions:
    """Prompts and completions to forward.

    Attributes:
        prompts: Token ids of the prompts, one list per completion.
        completions: Token ids of the completions; an empty one costs nothing.
        temperatures: Temperature of the logits, one per completion; ``None`` for 1.
        targets: Distribution that the policy is compared with, one per completion; ``None`` for no comparison.
    """

    prompts: list[list[int]]
    completions: list[list[int]]
    temperatures: list[float] | None = None
    targets: Sequence[Target | None] | None = None

    def __len__(self) -> int:
        return len(self.completions)

    @property
    def tokens(self) -> int:
        """Number of completion tokens."""
        return sum(map(len, self.completions))

    @classmethod
    def concatenate(cls, batches: Sequence[Completions]) -> Completions:
        """Completions of several batches, one batch after the other.

        Args:
            batches: Batches, at least one.
        """
        temperatures = [t for batch in batches for t in batch.temperatures or [1.0] * len(batch)]
        targets = [target for batch in batches for target in batch.targets or [None] * len(batch)]
        return cls(
            [prompt for batch in batches for prompt in batch.prompts],
            [completion for batch in batches for completion in batch.completions],
            None if all(batch.temperatures is None for batch in batches) else temperatures,
            None if all(batch.targets is None for batch in batches) else targets,
        )


MOST_PADDING = 4
"""Most pairs of query and key in the padded attention of a micro-batch, per pair that its completions need."""
FREE_PAIRS = 256
"""Pairs per token that are no reason to divide a micro-batch: its linear layers take longer."""


@dataclass
class MicroBatch:
    """Prompts that are forwarded together, once, and their completions.

    Attributes:
        prompts: Token ids of the distinct prompts.
        chunks: Indices of the completions that are forwarded together, per chunk and prompt. There is more than one
            chunk only if a single group exceeds the budget.
    """

    prompts: list[list[int]] = field(default_factory=list)
    chunks: list[list[list[int]]] = field(default_factory=list)


def micro_batches(completions: Completions, budget: int) -> list[MicroBatch]:
    """Group completions by prompt, and pack groups of similar length up to a token budget.

    Attention pads the completions of a micro-batch to its longest, and its groups to the largest. So short answers to
    long prompts are not packed with long texts without a prompt, such as those of an anchor.

    Args:
        completions: Completions to forward; empty ones are left out.
        budget: Maximum number of tokens per forward, prompts and completions together. A group that exceeds it is split
            into chunks, and its prompt is still forwarded once; only a single completion may then be larger.

    Returns:
        Micro-batches, longest first, so that running out of memory happens at the start.
    """
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, (prompt, ids) in enumerate(zip(completions.prompts, completions.completions, strict=True)):
        if ids:
            groups.setdefault(tuple(prompt), []).append(index)
    length = [len(ids) for ids in completions.completions]
    for members in groups.values():
        members.sort(key=lambda index: -length[index])
    batches: list[MicroBatch] = []
    room, attention = 0, _Attention()
    for prompt, members in sorted(groups.items(), key=lambda group: (-len(group[0]), -length[group[1][0]])):
        size = len(prompt) + sum(length[index] for index in members)
        # Larger than the budget: a micro-batch of its own, in chunks, whose gradients meet at the prompt.
        if size > budget:
            chunks = _split(members, length, budget - len(prompt))
            batches.append(MicroBatch([list(prompt)], [[chunk] for chunk in chunks]))
            room = 0
            continue
        with_group = attention.add(len(prompt), [length[index] for index in members])
        if size > room or with_group.is_wasteful:
            batches.append(MicroBatch([], [[]]))
            room, with_group = budget, _Attention().add(len(prompt), [length[index] for index in members])
        attention = with_group
        batches[-1].prompts.append(list(prompt))
        batches[-1].chunks[0].append(members)
        room -= size
    return batches


@dataclass(frozen=True)
class _Attention:
    """Size of the attention of a micro-batch.

    Attributes:
        groups: Number of groups.
        rows: Number of completions of the largest group.
        longest: Number of tokens of the longest completion.
        prompt: Number of tokens of the longest prompt.
        tokens: Number of completion tokens.
        needed: Number of pairs of query and key without padding.
    """

    groups: int = 0
    rows: int = 0
    longest: int = 0
    prompt: int = 0
    tokens: int = 0
    needed: int = 0

    def add(self, prompt: int, lengths: Sequence[int]) -> _Attention:
        """Return the attention of the micro-batch with one more group.

        Args:
            prompt: Number of tokens of the group's prompt.
            lengths: Number of tokens of each of its completions.
        """
        return _Attention(
            self.groups + 1,
            max(self.rows, len(lengths)),
            max(self.longest, *lengths),
            max(self.prompt, prompt),
            self.tokens + sum(lengths),
            self.needed + sum(n * (prompt + n) for n in lengths),
        )

    @property
    def is_wasteful(self) -> bool:
        """True if most of it is padding, and this costs more than the linear layers."""
        pairs = self.groups * self.rows * self.longest * (self.prompt + self.longest)
        return pairs > max(MOST_PADDING * self.needed, FREE_PAIRS * self.tokens)


def _split(members: list[int], length: list[int], budget: int) -> list[list[int]]:
    """Split the completions of one group into chunks of at most ``budget`` completion tokens."""
    chunks: list[list[int]] = []
    room = 0
    for index in members:
        if not chunks or length[index] > room:
            chunks.append([])
            room = budget
        chunks[-1].append(index)
        room -= length[index]
    return chunks
