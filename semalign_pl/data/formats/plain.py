"""Plain text: one text a line, in one file, or in several whose lines belong together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path

from semalign_pl.data.formats.lines import lines
from semalign_pl.data.formats.record import BadRow, Record, bad_row, quoted, shown


def plain(path: Path, columns: set[str]) -> Iterator[Record]:
    """One text a line, as the one column that is wanted; blank lines are passed over.

    Raises:
        ValueError: If several columns are wanted.
    """
    if len(columns) != 1:
        raise ValueError(
            f"{shown(path)}: a .txt file holds one text a line, and {len(columns)} columns are wanted "
            f"({', '.join(sorted(columns))}); give pairs as .jsonl, .csv, .tsv or two files in braces, such as "
            "train.{zh,bo}, or train on source text alone with data.init_args.task.init_args.source_only: true"
        )
    (column,) = columns
    for number, text in _texts(path):
        if isinstance(text, BadRow):
            yield number, text
        elif text.strip():
            yield number, {column: text}


def paired(source: str, paths: Mapping[str, Path]) -> Iterator[Record]:
    """Line by line what stands in the file of each column; lines blank in all are passed over.

    Raises:
        ValueError: At the end, if the files differ in their number of lines.
    """
    streams = [_texts(path) for path in paths.values()]
    counts = [0] * len(streams)
    for number, row in enumerate(zip_longest(*streams), 1):
        counts = [count + (item is not None) for count, item in zip(counts, row, strict=True)]
        if None in row or min(counts) < number:
            continue
        texts = {column: text for column, (_, text) in zip(paths, row, strict=True)}
        if bad := [text for text in texts.values() if isinstance(text, BadRow)]:
            yield number, bad[0]
        elif any(not isinstance(text, BadRow) and text.strip() for text in texts.values()):
            yield number, texts
    if len(set(counts)) > 1:
        told = " and ".join(f"{path.name} {count:,}" for path, count in zip(paths.values(), counts, strict=True))
        raise ValueError(f"{shown(source)}: lines belong together, but {shown(told)} lines; make them equally many")


def _texts(path: Path) -> Iterator[tuple[int, str | BadRow]]:
    """Lines without their ends."""
    for number, line in lines(path):
        if isinstance(line, str):
            line = line.removesuffix("\n").removesuffix("\r")
            if "\r" in line:
                fault = f"a CR inside the line: {quoted(line)}; a line must end in LF or CR LF"
                line = bad_row(path, number, fault, line)
        yield number, line
