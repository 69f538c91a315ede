"""Settings of a corpus in a recipe, alone or in a mix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from semalign_pl.data.reading.formats import Quoting
from semalign_pl.data.tasks import Task


@dataclass(frozen=True)
class Corpus:
    """Settings of one corpus, alone or in a mix.

    Attributes:
        path: File or hub dataset, as for `train`.
        columns: Name of the corpus' column for each field, or path into a nested column; the data module's if left out.
        task: Task of the corpus' rows; the data module's if left out.
        weight: Sampling weight of the corpus' rows, relative to the other corpora. Give all corpora a weight, or none.
        where: Filter on rows: each of these columns must have the given value, or one of the given values.
        split: Split of a hub dataset, if `path` names none.
        quoting: Quoting of a .csv or .tsv file: `none` if quotes around a cell are text, `excel` if they are not. If
            left out, CSV has Excel's quoting, and TSV has none unless the whole file shows otherwise.
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
    """Keys of `Corpus` in YAML.

    A typed dict, because jsonargparse would read a path given for a dataclass as a config file.
    """

    columns: dict[str, str]
    task: Task
    weight: float
    where: dict[str, Any]
    split: str
    quoting: Quoting


Corpora = str | CorpusKeys | list[str | CorpusKeys]


def list_corpora(corpora: Corpora | None) -> list[Corpus]:
    """Convert a recipe's setting to a list of corpora.

    Args:
        corpora: Path, settings, or list of both; ``None`` gives an empty list.
    """
    several = [] if corpora is None else corpora if isinstance(corpora, list) else [corpora]
    return [Corpus(corpus) if isinstance(corpus, str) else Corpus(**corpus) for corpus in several]


def sampling_weights(corpora: Sequence[Corpus], temperature: float | None) -> list[float] | None:
    """Sampling weights of a mix, one per corpus; ``None`` if its corpora have none.

    Args:
        corpora: Training corpora.
        temperature: Temperature of the data module; it excludes weights.

    Raises:
        ValueError: If only some corpora have a weight, a weight is not positive, or there is a temperature as well.
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
