"""Limits on the length of texts in tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

TooLong = Literal["cut_prompt", "drop", "error"]
MOST_DROPPED = 0.2
"""Maximum share of a corpus' rows that the model's limits may drop; a larger share stops the run."""
KEYS = {
    "prompt_too_long": "model.init_args.max_prompt_tokens",
    "answer_too_long": "model.init_args.max_new_tokens",
}
"""Key of the limit for each reason for which a row is dropped as too long."""


@dataclass(frozen=True)
class Limits:
    """Limits on the length of texts in tokens, and the treatment of longer ones.

    Attributes:
        prompt: Maximum number of tokens of a prompt, with the chat template.
        completion: Maximum number of tokens of a reference, with the end-of-turn token.
        too_long: Treatment of longer texts: ``cut_prompt``, ``drop`` or ``error``.
        trains_references: True if references are trained on; else ``cut_prompt`` accepts long references.
        min_tokens: Minimum number of tokens of the source and of a non-empty reference, without the end-of-turn token.
        max_tokens: Maximum number of tokens of the source and of the reference, without the end-of-turn token.
    """

    prompt: int
    completion: int
    too_long: TooLong = "cut_prompt"
    trains_references: bool = True
    min_tokens: int | None = None
    max_tokens: int | None = None

    def check_length(self, name: str, tokens: int) -> tuple[str, str] | None:
        """Compare the length of a text with ``min_tokens`` and ``max_tokens``.

        Args:
            name: Name of the text, for the message.
            tokens: Number of tokens, without the end token.

        Returns:
            Reason and measure for dropping the row; ``None`` if it is kept.
        """
        if self.max_tokens is not None and tokens > self.max_tokens:
            limit = f"data.init_args.prepare.max_tokens: {self.max_tokens}"
            return "too_many_tokens", f"the {name} has {tokens} tokens, more than {limit}"
        if self.min_tokens is not None and tokens < self.min_tokens:
            limit = f"data.init_args.prepare.min_tokens: {self.min_tokens}"
            return "too_few_tokens", f"the {name} has {tokens} tokens, fewer than {limit}"
        return None


def limit_that_keeps(lengths: Iterable[int] | Mapping[int, int], share: float = 0.99) -> int:
    """Smallest limit that at least this share of the texts do not exceed.

    Args:
        lengths: Length of each text, or number of texts of each length; at least one.
        share: Share of the texts to keep, above 0 and up to 1.

    >>> limit_that_keeps([*range(1, 100), 5000]), limit_that_keeps({7: 1, 30: 1}, 1.0)
    (99, 30)
    """
    counts = Counter(lengths)
    kept, wanted = 0, share * counts.total() - 1e-9  # 0.07 * 100 is above 7 in floating point
    for length in sorted(counts):
        kept += counts[length]
        if kept >= wanted:
            return length
    raise AssertionError("the caller gives at least one length, and a share of at most 1")


def check_dropped(
    source: str, rows: int, dropped: Mapping[str, int], limits: Mapping[str, int], keeping: Mapping[str, int]
) -> None:
    """Refuse limits that drop more than `MOST_DROPPED` of a corpus' rows.

    Rows that ``prepare.max_tokens`` or ``prepare.min_tokens`` leaves out do not count: the user has asked for that.

    Args:
        source: Name of the corpus, for the message.
        rows: Number of rows that could be trained on, without those of prepare's filters.
        dropped: Number of dropped rows per reason; reasons that are not in `KEYS` are ignored.
        limits: Limit in tokens per reason.
        keeping: Limit in tokens that would keep 99 % of the rows, per reason.

    Raises:
        ValueError: If the limits drop too many rows; names each limit's key and the value that would keep 99 %.
    """
    too_long = {reason: dropped[reason] for reason in KEYS if dropped.get(reason)}
    count = sum(too_long.values())
    if count <= MOST_DROPPED * rows:
        return
    wanted = " and ".join(f"{KEYS[reason]}: {keeping[reason]} (now {limits[reason]})" for reason in too_long)
    raise ValueError(
        f"{source}: {count:,} of {rows:,} rows are longer than the model's limits and would be dropped; to keep 99 % "
        f"set {wanted}; to leave long rows out on purpose, set data.init_args.prepare.max_tokens"
    )
