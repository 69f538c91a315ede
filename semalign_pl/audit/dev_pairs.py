"""Rows that the audit reads: validation rows, or training rows that the run does not train on."""

from __future__ import annotations

from dataclasses import dataclass

from semalign_pl.data import CorpusDataModule
from semalign_pl.languages import get_language
from semalign_pl.languages.language import Language
from semalign_pl.types import Example


@dataclass(frozen=True)
class DevPairs:
    """Rows for the audit.

    Attributes:
        rows: Rows with a reference, each with the language of its reference.
        origin: Origin of the rows, in words.
    """

    rows: list[tuple[Example, Language]]
    origin: str


def read_dev_pairs(data: CorpusDataModule) -> DevPairs:
    """Read the rows for the audit. Test rows are never read: a reward must not be chosen by them.

    Args:
        data: Data module of the recipe, used for nothing else: its ``limit`` and ``skip`` may be changed.

    Returns:
        The validation rows; without a validation corpus, training rows after ``skip`` and ``limit``; if there are none,
        the training rows.

    Raises:
        ValueError: If there are no rows with a reference, or a corpus cannot be read.
    """
    if data.corpora["validation"]:
        data.setup("validate")
        return _with_references(data, "validation", "the recipe's validation rows")
    data.setup("fit")
    used = data.skip + (data.limit or sum(len(corpus.table) for corpus in data.prepared["train"]))
    origin = "training rows, as there is no validation corpus and no row is left out of training"
    if used < sum(len(corpus.table) for corpus in data.prepared["train"]):
        origin = f"training rows that the run leaves out (limit {data.limit}), as there is no validation corpus"
        data.skip, data.limit = used, None
        data.setup("fit")
    return _with_references(data, "train", origin)


def _with_references(data: CorpusDataModule, split: str, origin: str) -> DevPairs:
    examples = data.examples[split].rewarded
    places = [place for place, size in enumerate(examples.sizes) for _ in range(size)]
    found = [(e, place) for e, place in zip(examples, places, strict=True) if e.reference.strip() and not e.is_raw_text]
    languages = {place: _find_language(data, split, place) for place in sorted({place for _, place in found})}
    rows = [(example, languages[place]) for example, place in found]
    if not rows:
        raise ValueError(
            f"data.init_args.{split}: its rows have no references, which the audit spoils; name pairs with "
            "--data.init_args.validation FILE"
        )
    return DevPairs(rows, origin)


def _find_language(data: CorpusDataModule, split: str, place: int) -> Language:
    """Language of the references of a corpus, by whose words the audit spoils them.

    Raises:
        ValueError: If the corpus' task names no language, or one without rules; names the corpus.
    """
    corpus = data.corpora[split][place]
    where = f"data.init_args.{split}: {corpus.name or corpus.path}"
    code = (corpus.task or data.task).target_language
    if not code:
        raise ValueError(
            f"{where}: its task names no language, by whose words the audit spoils references; set "
            "task.init_args.language, or audit other rows with --data.init_args.validation FILE"
        )
    try:
        return get_language(code)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
