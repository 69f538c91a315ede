"""Plain text files: one text per line, in one file or in several files aligned line by line."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.cells import delimited_rows
from semalign_pl.data.reading.formats.encodings import open_utf8
from semalign_pl.data.reading.formats.lines import text_lines
from semalign_pl.data.reading.formats.record import MAX_LINE, BadRow, Item, NoRow, escape


def plain_rows(path: Path, columns: set[str], counter: LineCounter) -> Iterator[Item]:
    """Yield one item per line: a row with one text, a bad row or a blank line.

    If several columns are wanted and the first line has a tab, the file is read as a .tsv file.

    Args:
        path: Path of the file.
        columns: Name of the wanted column, which the text gets; if empty, ``text``.
        counter: Number of lines read, updated while reading.

    Raises:
        ValueError: If several columns are wanted of a file without tabs.
    """
    if len(columns) > 1:
        with open_utf8(path) as file:
            table = b"\t" in file.readline(MAX_LINE)
        if table:
            yield from delimited_rows(path, "\t", None, columns, counter)
            return
        raise ValueError(
            f"{escape(path)}: a .txt file holds one text per line, and {len(columns)} columns are wanted "
            f"({', '.join(sorted(columns))}); give pairs as .jsonl, .csv, .tsv or two files in braces, such as "
            "train.{zh,bo}, or train on source text alone with data.init_args.task.init_args.source_only: true"
        )
    column = next(iter(columns), "text")
    for number, text in text_lines(path, counter):
        if isinstance(text, BadRow):
            yield Item(number, text)
        else:
            yield Item(number, {column: text} if text.strip() else NoRow.BLANK)


def paired_rows(source: str, paths: Mapping[str, Path], counter: LineCounter) -> Iterator[Item]:
    """Yield one item per line of aligned files: a row with one text per file, a bad row, or a blank line.

    A line is blank if it is blank in all files.

    Args:
        source: Name of the source, for the message.
        paths: Path of the file per column.
        counter: Number of lines per file, set after the last line.

    Raises:
        ValueError: After the last line, if the files differ in their number of lines.
    """
    counters = [LineCounter() for _ in paths]
    streams = [text_lines(path, one) for path, one in zip(paths.values(), counters, strict=True)]
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
    counts = [one.lines for one in counters]
    if len(set(counts)) > 1:
        lines = " and ".join(f"{path.name} {count:,}" for path, count in zip(paths.values(), counts, strict=True))
        raise ValueError(f"{escape(source)}: lines belong together, but {escape(lines)} lines; make them equally many")
    counter.lines = counts[0]
