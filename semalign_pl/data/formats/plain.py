"""Plain text: one text per line, in one file, or in several whose lines belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.lines import texts
from semalign_pl.data.formats.record import BadRow, Item, NoRow, shown


def plain(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """Yield one text per line, as the one column that is wanted; none for a blank line.

    Raises:
        ValueError: If several columns are wanted.
    """
    if len(columns) > 1:
        raise ValueError(
            f"{shown(path)}: a .txt file holds one text per line, and {len(columns)} columns are wanted "
            f"({', '.join(sorted(columns))}); give pairs as .jsonl, .csv, .tsv or two files in braces, such as "
            "train.{zh,bo}, or train on source text alone with data.init_args.task.init_args.source_only: true"
        )
    column = next(iter(columns), "text")
    for number, text in texts(path, intake):
        if isinstance(text, BadRow):
            yield Item(number, text)
        else:
            yield Item(number, {column: text} if text.strip() else NoRow.BLANK)


def paired(source: str, paths: Mapping[str, Path], intake: Intake) -> Iterator[Item]:
    """Yield the texts on the same line of each column's file; a blank where the line is blank in all.

    Raises:
        ValueError: At the end, if the files differ in their number of lines.
    """
    intakes = [Intake() for _ in paths]
    streams = [texts(path, one) for path, one in zip(paths.values(), intakes, strict=True)]
    for number, row in enumerate(zip_longest(*streams), 1):
        if None in row:
            continue  # to the end of the longest file, so that the error can name the lines of each
        line = {column: text for column, (_, text) in zip(paths, row, strict=True)}
        if bad := [text for text in line.values() if isinstance(text, BadRow)]:
            yield Item(number, bad[0])
        elif any(not isinstance(text, BadRow) and text.strip() for text in line.values()):
            yield Item(number, line)
        else:
            yield Item(number, NoRow.BLANK)
    counts = [one.lines for one in intakes]
    if len(set(counts)) > 1:
        told = " and ".join(f"{path.name} {count:,}" for path, count in zip(paths.values(), counts, strict=True))
        raise ValueError(f"{shown(source)}: lines belong together, but {shown(told)} lines; make them equally many")
    intake.lines = counts[0]
