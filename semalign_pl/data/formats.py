"""One reader a file format: each yields ``(line or row number, {column: value})`` and explains what it cannot read.

Text is parsed with the standard library. The readers of ``datasets`` guess types on the way (measured on 5.2: a column
of ``"2020-01-01"`` becomes datetimes, a CSV cell ``NA`` becomes null and ``007`` becomes 7) and lose line numbers. What
carries its own types, Parquet and hub datasets, goes through ``datasets``, imported only then.
"""

from __future__ import annotations

import csv
import glob
import gzip
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Record = tuple[int, Mapping[str, Any]]


def one_line(error: Exception) -> str:
    """An error's message on one line, or its type where it has none."""
    return " ".join(str(error).split()) or type(error).__name__


def text(path: Path) -> str:
    """The whole file, unzipped and decoded; only a byte-order mark is dropped, line ends stay as they are."""
    data = path.read_bytes()
    if path.suffix.lower() == ".gz":
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path}: not a whole gzip file ({one_line(error)}); unzip it or zip it again") from error
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(
            f"{path}:{line}: not UTF-8 (byte 0x{data[error.start]:02x}); convert it: iconv -f <its encoding> -t UTF-8"
        ) from error


def json_lines(path: Path) -> Iterator[Record]:
    """One JSON object a line; blank lines are passed over."""
    # Not splitlines(): JSON strings may hold U+2028 and its like unescaped.
    for number, line in enumerate(text(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except ValueError as error:
            raise ValueError(
                f"{path}:{number}: not JSON ({one_line(error)}): {line.strip()[:60]!r}; write one whole object a line"
            ) from error
        if not isinstance(record, dict):
            raise ValueError(
                f"{path}:{number}: a JSON {type(record).__name__} where an object is wanted; write one object a line, "
                'such as {"zh": "…", "bo": "…"}'
            )
        yield number, record


def plain(path: Path, columns: set[str]) -> Iterator[Record]:
    """One text a line, as the one column that is wanted; blank lines are passed over.

    Raises:
        ValueError: If several columns are wanted.
    """
    if len(columns) != 1:
        raise ValueError(
            f"{path}: a .txt file holds one text a line, and {len(columns)} columns are wanted "
            f"({', '.join(sorted(columns))}); give pairs as .jsonl, .csv or .tsv, or train on source text alone with "
            "data.init_args.task.init_args.source_only: true"
        )
    (column,) = columns
    for number, line in enumerate(text(path).split("\n"), 1):
        if line.strip():
            yield number, {column: line.removesuffix("\r")}


def separated(path: Path, delimiter: str) -> Iterator[Record]:
    """Cells under a header line, quoted as in CSV; a record is numbered by the line it starts on."""
    # `newline=""` keeps line ends inside quotes, `strict` reports a quote that is never closed.
    reader = csv.reader(io.StringIO(text(path), newline=""), delimiter=delimiter, strict=True)
    header: list[str] | None = None
    start = 1
    try:
        for cells in reader:
            number, start = start, reader.line_num + 1
            if not cells:
                continue
            if header is None:
                header = cells
                if twice := sorted({name for name in header if header.count(name) > 1}):
                    raise ValueError(f"{path}:{number}: the header names {twice[0]!r} twice; rename one of them")
                continue
            if len(cells) != len(header):
                raise ValueError(
                    f"{path}:{number}: {len(cells)} cells under a header of {len(header)}; put quotes around a "
                    f"cell with {'a tab' if delimiter == chr(9) else 'a comma'}, a quote or a line break, or use .jsonl"
                )
            yield number, dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise ValueError(
            f"{path}:{start}: cannot be split into cells ({one_line(error)}); a quote that starts a cell must be "
            "closed, and doubled inside it, or use .jsonl"
        ) from error


def parquet(path: Path, columns: set[str]) -> Iterator[Record]:
    """The rows of one Parquet file, read afresh (nothing is cached)."""
    options = {"data_files": glob.escape(str(path)), "split": "train", "streaming": True}
    return _through_datasets(path, "parquet", columns, "write it again", options)


def folder(path: Path, split: str, columns: set[str]) -> Iterator[Record]:
    """A split of a folder laid out like a hub dataset, read afresh."""
    remedy = "see how `datasets` wants a folder laid out, or name one file in it"
    return _through_datasets(path, str(path), columns, remedy, {"split": split, "streaming": True})


def hub(source: str, name: str, config: str | None, split: str, columns: set[str]) -> Iterator[Record]:
    """A split of a hub dataset, by way of the hub's own cache, which follows the dataset's revisions."""
    remedy = (
        "check owner/name:config@split, log in (`hf auth login`), unset HF_HUB_OFFLINE, or name a .jsonl, .csv, .tsv "
        "or .parquet file"
    )
    return _through_datasets(source, name, columns, remedy, {"name": config, "split": split})


def _through_datasets(
    source: Path | str, loader: str, columns: set[str], remedy: str, options: dict[str, Any]
) -> Iterator[Record]:
    import datasets

    try:
        table: Any = datasets.load_dataset(loader, **options)
        # Where a column is missing, all are kept, so that the error can name them.
        if columns <= set(table.column_names or ()):
            table = table.select_columns(sorted(columns))
        rows = list(table)
    except Exception as error:
        split = f", split {options['split']!r}" if loader != "parquet" else ""
        raise ValueError(f"{source}: `datasets` cannot load it{split} ({one_line(error)[:300]}); {remedy}") from error
    return enumerate(rows, 1)
