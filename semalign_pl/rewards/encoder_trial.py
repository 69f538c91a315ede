"""Trial of a reward's encoder on a sample of the corpus, before training relies on it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, TypedDict

import torch
from torch import Tensor

from semalign_pl.functional.proportion import wilson_interval
from semalign_pl.functional.retrieval import identities, search
from semalign_pl.types import Example

SAMPLE = 128
"""Number of examples in a trial. The binomial interval is then at most 17 points wide, and twice as many texts are
embedded."""
MIN_TEXTS = 20
"""Number of distinct texts below which the cosine of unrelated texts says little."""
MIN_PAIRS = 64
"""Number of pairs below which accuracy@1 cannot be told from chance: of 64, 3 hits are the fewest that are above it."""
MAX_UNKNOWN = 0.5
"""Share of texts with unknown tokens above which the encoder counts as unable to read the script."""
ABLE_ACCURACY = 0.5
"""Accuracy@1 (lower bound) from which an encoder counts as able, whatever else was measured."""
ALIKE_COSINE = 0.8
"""Mean cosine of unrelated texts from which all texts look alike to the encoder. Measured: 0.84 and 0.92 for an English
encoder on two Tibetan corpora that it cannot read; 0.03 for the miniature world's encoder. Contrastive encoders with a
low temperature (E5) reach 0.7 to 0.8 on texts that they do read."""
REMEDY = "train one on your pairs (embedder.yaml of semalign init, or of semalign recipes copy) and give its folder"

Verdict = Literal["refuse", "warn", "trust"]


@dataclass(frozen=True)
class EncoderTrial:
    """Measurements of an encoder on a sample of the corpus.

    Attributes:
        column: Column whose texts the encoder reads worst: `reference` or an anchor's.
        texts: Number of distinct texts of that column in the sample.
        unknown_texts: Share of these texts with an unknown token; ``None`` if the tokenizer has no such token.
        unknown_tokens: Share of unknown tokens among all tokens of these texts; ``None`` as above.
        unrelated_mean: Mean cosine of two different texts of the column; NaN for a single text.
        unrelated_p95: 95th percentile of these cosines.
        pairs: Number of pairs of source and reference, all texts distinct.
        accuracy_at_1: Share of sources whose nearest reference is their own; NaN if there are not two pairs.
        accuracy_low: Lower bound of the 95 % interval of accuracy@1.
        accuracy_high: Upper bound of the 95 % interval of accuracy@1.
        chance: Accuracy@1 of random guessing.
    """

    column: str
    texts: int
    unknown_texts: float | None
    unknown_tokens: float | None
    unrelated_mean: float
    unrelated_p95: float
    pairs: int
    accuracy_at_1: float
    accuracy_low: float
    accuracy_high: float
    chance: float

    def verdict(self, across: bool) -> Verdict:
        """Decide whether the encoder is trusted, warned about or refused.

        An encoder is refused if unrelated texts all look alike to it and, in addition, it cannot read most texts or
        does not find a source's reference more often than chance. It would reward random text. A refusal needs enough
        texts, and an encoder that finds most references is never refused. A low accuracy alone is no reason if
        completions are compared with references: a monolingual encoder does that well.

        Args:
            across: True if completions are compared with the source, so that the reward relies on accuracy@1.
        """
        unknown = self.unknown_texts is not None and self.unknown_texts > MAX_UNKNOWN
        crowded = self.texts >= MIN_TEXTS and self.unrelated_mean >= ALIKE_COSINE
        blind = self.pairs >= MIN_PAIRS and self.accuracy_low <= self.chance
        able = self.pairs >= MIN_PAIRS and self.accuracy_low >= ABLE_ACCURACY
        if crowded and (unknown or blind) and not able:
            return "refuse"
        return "warn" if (unknown and not able) or crowded or (blind and across) else "trust"

    def figures(self) -> dict[str, float | str | None]:
        """All figures, by name; ``None`` if one could not be measured."""
        return {name: None if value != value else value for name, value in asdict(self).items()}

    def __str__(self) -> str:
        """Figures in words."""
        figures = []
        if self.unknown_texts is not None and self.unknown_tokens is not None:
            figures.append(
                f"{self.unknown_texts:.0%} have tokens it does not know ({self.unknown_tokens:.0%} of all tokens)"
            )
        if self.texts > 1:
            figures.append(
                f"unrelated ones have a mean cosine of {self.unrelated_mean:.2f} (P95 {self.unrelated_p95:.2f})"
            )
        if self.pairs > 1:
            figures.append(
                f"it finds the reference of {self.accuracy_at_1:.1%} of {self.pairs} sources (95 % interval "
                f"{self.accuracy_low:.1%} to {self.accuracy_high:.1%}; chance {self.chance:.1%})"
            )
        return f"of {self.texts} texts of column {self.column!r}, " + ", ".join(figures)


def draw_sample(examples: Sequence[Example], count: int = SAMPLE) -> list[Example]:
    """Draw the examples of a trial, the same in every run, process and stage.

    Args:
        examples: Training examples.
        count: Maximum number of examples.
    """
    rows = random.Random("trial").sample(range(len(examples)), min(count, len(examples)))
    return [examples[row] for row in sorted(rows)]


def distinct_pairs(first: Sequence[str], second: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs without blank texts, none of which shares a text with an earlier one.

    Args:
        first: First text of each pair.
        second: Second text of each pair.

    >>> distinct_pairs(["a", "b", "a", " "], ["x", "x", "y", "z"])
    [('a', 'x')]
    """
    seen: tuple[set[str], set[str]] = (set(), set())
    kept = []
    for pair in zip(first, second, strict=True):
        if all(text.strip() for text in pair) and pair[0] not in seen[0] and pair[1] not in seen[1]:
            kept.append(pair)
            seen[0].add(pair[0])
            seen[1].add(pair[1])
    return kept


def try_encoder(
    embed: Callable[[Sequence[str]], Tensor],
    count_unknown: Callable[[Sequence[str]], list[tuple[int, int]] | None],
    columns: Mapping[str, Sequence[str]],
    sources: Sequence[str],
    references: Sequence[str],
) -> EncoderTrial | None:
    """Measure an encoder on a sample.

    Args:
        embed: Function from texts to embeddings, ``(texts, dimensions)`` with rows of length 1.
        count_unknown: Function from texts to the numbers of unknown tokens and of all tokens per text, or to ``None``
            if the tokenizer has no unknown token.
        columns: Texts that the encoder has to read, by column.
        sources: Source of each example.
        references: Reference of each example; blank if there is none.

    Returns:
        Measurements, with the column that the encoder reads worst; ``None`` if there are no texts.
    """
    read = [
        _measure_column(name, embed, count_unknown, texts)
        for name, column in columns.items()
        if (texts := list(dict.fromkeys(text for text in column if text.strip())))
    ]
    if not read:
        return None
    worst = max(read, key=lambda r: ((r["unknown_texts"] or 0) > MAX_UNKNOWN, r["unrelated_mean"]))
    pairs = distinct_pairs(sources, references)
    accuracy, (low, high) = float("nan"), (float("nan"), float("nan"))
    if len(pairs) > 1:
        x, y = zip(*pairs, strict=True)
        hits = int((search(embed(x), embed(y), identities(x), identities(y)).rank == 1).sum())
        accuracy, (low, high) = hits / len(pairs), wilson_interval(hits, len(pairs))
    chance = 1 / max(1, len(pairs))
    return EncoderTrial(
        **worst, pairs=len(pairs), accuracy_at_1=accuracy, accuracy_low=low, accuracy_high=high, chance=chance
    )


class _ColumnFigures(TypedDict):
    """Figures of one column, with the meaning and the names of ``EncoderTrial``'s."""

    column: str
    texts: int
    unknown_texts: float | None
    unknown_tokens: float | None
    unrelated_mean: float
    unrelated_p95: float


def _measure_column(
    name: str,
    embed: Callable[[Sequence[str]], Tensor],
    count_unknown: Callable[[Sequence[str]], list[tuple[int, int]] | None],
    texts: list[str],
) -> _ColumnFigures:
    """Figures of one column: share of unknown tokens, and cosines of unrelated texts."""
    counts = count_unknown(texts)
    vectors = embed(texts)
    others = ~torch.eye(len(texts), dtype=torch.bool, device=vectors.device)
    cosines = (vectors @ vectors.T)[others]
    unknown_texts, unknown_tokens = (None, None) if counts is None else _shares(counts)
    return {
        "column": name,
        "texts": len(texts),
        "unknown_texts": unknown_texts,
        "unknown_tokens": unknown_tokens,
        "unrelated_mean": float(cosines.mean()),
        "unrelated_p95": float(cosines.quantile(0.95)) if len(texts) > 1 else float("nan"),
    }


def _shares(counts: list[tuple[int, int]]) -> tuple[float, float]:
    """Share of texts with an unknown token, and share of unknown tokens."""
    total = sum(tokens for _, tokens in counts)
    return (
        sum(unknown > 0 for unknown, _ in counts) / len(counts),
        sum(unknown for unknown, _ in counts) / max(1, total),
    )
