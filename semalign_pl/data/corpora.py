"""A corpus as a recipe names it, alone or in a mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from semalign_pl.data.formats import Quoting
from semalign_pl.data.tasks import Task


@dataclass(frozen=True)
class Corpus:
    """One of several corpora that are trained on together.

    Attributes:
        path: A file or hub dataset, as for `train`.
        columns: Its column of each field, or path into a nested one; the data module's if left out.
        task: What is asked of its rows; the data module's if left out.
        weight: How often its rows come, relative to the others'; all corpora have one, or none has.
        where: Use only the rows in which each of these columns has the value, or one of the values, given.
        split: The split of a hub dataset, where `path` names none.
        quoting: `none` if quotes around a cell of a .csv or .tsv file are text, `excel` if they are not; if left out,
            CSV has Excel's quoting, and TSV none unless the whole file shows otherwise.
    """

    path: str
    columns: dict[str, str] | None = None
    task: Task | None = None
    weight: float | None = None
    where: dict[str, Any] | None = None
    split: str | None = None
    quoting: Quoting | None = None


class _Named(TypedDict):
    path: str


class CorpusKeys(_Named, total=False):
    """`Corpus` as YAML writes it: of a dataclass jsonargparse would take a path for a config, and read the corpus."""

    columns: dict[str, str]
    task: Task
    weight: float
    where: dict[str, Any]
    split: str
    quoting: Quoting


Corpora = str | CorpusKeys | list[str | CorpusKeys]


def listed(corpora: Corpora | None) -> list[Corpus]:
    """What a recipe names, as a list."""
    several = [] if corpora is None else corpora if isinstance(corpora, list) else [corpora]
    return [Corpus(corpus) if isinstance(corpus, str) else Corpus(**corpus) for corpus in several]


def weights_of(corpora: Sequence[Corpus], temperature: float | None) -> list[float] | None:
    """The weights of a mix, or ``None`` where its corpora have none.

    Args:
        corpora: The training corpora.
        temperature: Of the data module; it goes without weights.

    Raises:
        ValueError: If some have a weight and others none, one is not positive, or there is a temperature as well.
    """
    weights = [corpus.weight for corpus in corpora]
    if all(weight is None for weight in weights):
        return None
    if temperature is not None:
        raise ValueError("data.init_args.temperature: the corpora of train have weights; give one or the other")
    positive = [weight for weight in weights if weight is not None and weight > 0]
    if len(positive) < len(weights):
        raise ValueError(f"data.init_args.train: the weights are {weights}; give each corpus one above 0, or none")
    return positive
