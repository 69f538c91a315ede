"""The part of ``semalign judge`` for native readers: write their page, merge what it has exported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from semalign_pl.judge.humans.answers import read_answers
from semalign_pl.judge.humans.write import write_page
from semalign_pl.judge.pairs import Pair
from semalign_pl.judge.records import Judgement

__all__ = ["merge", "write_page"]


def merge(files: Sequence[Path], pairs: Sequence[Pair]) -> list[Judgement]:
    """Merge the answers of several readers.

    Args:
        files: Files that the page has exported, one per reader.
        pairs: Pairs that the page was made from.

    Returns:
        Judgements in the order of the files, whose judges are the readers' names.

    Raises:
        ValueError: If a file cannot be read, is of other pairs or was changed, two files are of one reader, or their
            pages had different rubrics; names file, item and field.
    """
    merged: list[Judgement] = []
    readers: dict[str, Path] = {}
    for file in files:
        judgements = read_answers(file, pairs)
        reader, rubric = judgements[0].judge, judgements[0].rubric
        if reader in readers:
            raise ValueError(
                f"{file}: reader: {reader!r} is the reader of {readers[reader]}, too; give one file per reader, or, if "
                "two have this name, let one of them add to it in the page and export again"
            )
        if merged and rubric != merged[0].rubric:
            raise ValueError(
                f"{file}: rubric: {rubric!r} is not the rubric of {files[0]}, {merged[0].rubric!r}; merge only answers "
                "to the same question"
            )
        readers[reader] = file
        merged += judgements
    return merged
