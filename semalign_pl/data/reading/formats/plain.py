"""Plain text files: one text per line, in one file or in several files aligned line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from semalign_pl.data.reading.formats.account import Intake
from semalign_pl.data.reading.formats.lines import texts
from semalign_pl.data.reading.formats.record import BadRow, Item, NoRow, shown


def plain(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """Yield one item per line: a row with one text, a bad row or a blank line.

    Args:
        path: Path of the file.
        columns: Name of the wanted column, which the text gets; if empty, ``text``.
        intake: Number of lines read, updated while reading.

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
    """Yield one item per line of aligned files: a row with one text per file, a bad row, or a blank line.

    A line is blank if it is blank in all files.

    Args:
        source: Name of the source, for the message.
        paths: Path of the file per column.
        intake: Number of lines per file, set after the last line.

    Raises:
        ValueError: After the last line, if the files differ in their number of lines.
    """
    intakes = [Intake() for _ in paths]
    streams = [texts(path, one) for path, one in zip(paths.values(), intakes, strict=True)]
    for number, row in enumerate(zip_longest(*streams), 1):
        if None in row:
            continue  # read the longest file to its end: the error names the number of lines of each file
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
