"""Settings of a corpus in a recipe, alone or in a mix."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from semalign_pl.data.raw_text import RawText
from semalign_pl.data.reading.formats import Quoting
from semalign_pl.data.tasks import Task

if TYPE_CHECKING:
    from semalign_pl.data.corpus import CorpusDataModule


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
        encoding: Encoding of a text file, such as `gb18030`. If left out, UTF-8, or UTF-16 with a byte-order mark.
        name: Name of the corpus in logs, such as `train/share/NAME`; in a mix, by default the file's. Corpora of one
            name are logged together.
        replay: True for general data that training repeats against forgetting. SFT trains on it as on all rows. GRPO
            neither samples nor rewards it, and adds SFT's loss on its references (`replay_nll_weight`). DistillModule
            draws the policy to the base on its prompts.
    """

    path: str
    columns: dict[str, str] | None = None
    task: Task | None = None
    weight: float | None = None
    where: dict[str, Any] | None = None
    split: str | None = None
    quoting: Quoting | None = None
    encoding: str | None = None
    name: str | None = None
    replay: bool = False


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
    encoding: str
    name: str
    replay: bool


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


@dataclass(frozen=True)
class Label:
    """Name, language and use of one corpus, which each of its examples gets.

    Attributes:
        corpus: Name of the corpus.
        language: Language of its completions, a code or a .yaml file; empty if its task names none.
        task: Name of the corpus if the corpora of its split have different tasks; else empty.
        replay: True if the corpus is replayed.
    """

    corpus: str = ""
    language: str = ""
    task: str = ""
    replay: bool = False


def label_corpora(corpora: Sequence[Corpus], task: Task, split: str) -> list[Label]:
    """Labels of the corpora of a split; a single corpus without a name has an empty one.

    Args:
        corpora: Corpora of the split.
        task: Task of a corpus without one of its own.
        split: Split: ``train``, ``validation`` or ``test``.

    Raises:
        ValueError: If a name cannot be part of a log name, or names a replayed corpus and another one.
    """
    where = f"data.init_args.{split}"
    labels, taken = list[Label](), {corpus.name for corpus in corpora}
    tasks = [corpus.task or task for corpus in corpora]
    differ = any(_describe_task(one) != _describe_task(tasks[0]) for one in tasks)
    for corpus in corpora:
        name = corpus.name
        if name is not None and not re.fullmatch(r"\w[\w.-]*", name):
            raise ValueError(f"{where}: the name {name!r} cannot be part of a log name; use letters, digits, - and _")
        if name is None and len(corpora) == 1:
            labels.append(Label(replay=corpus.replay))
            continue
        if name is None:
            name = stem = re.split(r"[.:@#{*]", Path(corpus.path).name)[0] or "corpus"
            number = 1
            while name in taken:
                number += 1
                name = f"{stem}_{number}"
            taken.add(name)
        labels.append(Label(name, (corpus.task or task).target_language, name if differ else "", corpus.replay))
    for name in {label.corpus for label in labels}:
        if len({label.replay for label in labels if label.corpus == name}) > 1:
            raise ValueError(f"{where}: {name!r} names a corpus with replay and one without; give them different names")
    return labels


def _describe_task(task: Task) -> tuple[object, ...]:
    """Values by which two tasks differ: corpora with equal ones are one test set, with different ones several."""
    return type(task), task.languages, task.template, task.system


def unnamed_target(data: CorpusDataModule, split: str) -> str:
    """Language of the completions of a split that is one corpus without a name, whose rows name no language.

    Args:
        data: Data module of the run.
        split: Split: ``train``, ``validation`` or ``test``.

    Returns:
        Code or .yaml file; empty if the rows name their language, the task names none, or the corpus is raw text.
    """
    corpora = data.corpora[split]
    if len(corpora) != 1 or corpora[0].name is not None:
        return ""
    task = corpora[0].task or data.task
    return "" if isinstance(task, RawText) else task.target_language


def prompt_tasks(data: CorpusDataModule, replayed: bool = False) -> dict[str, tuple[Task, dict[str, str]]]:
    """Task and columns of each corpus with prompts, by its name; the first is the one that a run is tested on.

    Args:
        data: Data module of the run.
        replayed: True to include replayed corpora.

    Returns:
        Task, and name of the corpus' column for each field; empty if all corpora are raw text.
    """
    found: dict[str, tuple[Task, dict[str, str]]] = {}
    for split in ("test", "validation", "train"):
        labels = label_corpora(data.corpora[split], data.task, split)
        for label, corpus in zip(labels, data.corpora[split], strict=True):
            task = corpus.task or data.task
            if not isinstance(task, RawText) and (replayed or not label.replay):
                found.setdefault(label.corpus, (task, data.columns if corpus.columns is None else corpus.columns))
    return found
