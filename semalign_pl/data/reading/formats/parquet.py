"""Parquet files, read with pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.record import (
    MAX_LINE,
    MAX_TEXT,
    Item,
    bad_row,
    error_line,
    escape,
    quote,
    wanted_columns,
)

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import FileMetaData

MAX_ROWS = 10
"""Maximum number of rows per byte of a Parquet file with over a million rows.

More rows can only be empty, and take minutes to read.
"""
MAX_EXPANSION = 1000
"""Maximum factor by which a Parquet file may expand.

Text compresses 3 to 20 times, and more if some rows repeat it. But a file of 900 bytes can contain 5 GB of one value.
"""
MAX_DICTIONARY = 100
"""Maximum factor by which a column's dictionary may expand; its values are distinct, each is decoded once per row."""
HARMLESS = 64_000_000
"""Number of bytes that any file may expand to."""
MAX_ROW = 32 * MAX_TEXT
"""Maximum number of bytes of a row, all columns together: eight texts of `MAX_TEXT` characters of 4 bytes."""
BATCH = 16
"""Number of rows decoded at a time.

Small, because a file can repeat a value of any length in every row at no cost. Batches of 1,024 are only 1.4 times as
fast: 60,000 pairs take 0.51 s instead of 0.72 s.
"""


def parquet(path: Path, columns: set[str], counter: LineCounter) -> Iterator[Item]:
    """Yield the rows of one Parquet file, read batch by batch; ``datasets`` would keep everything it has read.

    Args:
        path: Path of the file.
        columns: Names of the wanted columns; empty for all.
        counter: Number of rows, set from the file's metadata.

    Raises:
        ValueError: If the file cannot be read, or its rows or expanded bytes are too many for its size.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path, pre_buffer=False) as file:
            counter.lines = file.metadata.num_rows
            names = file.schema_arrow.names
            if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
                raise ValueError(f"it has the column {quote(twice[0])} twice")
            _check_chunks(path, file.metadata)
            for batch in _bound_batches(path, file.iter_batches(BATCH, columns=wanted_columns(names, columns))):
                for row in _decode_rows(batch):
                    number += 1
                    yield Item(number, row if isinstance(row, dict) else bad_row(path, number, row, ""))
    except _Bomb as error:
        raise ValueError(str(error)) from None
    except (ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{escape(path)}: cannot be read as Parquet ({error_line(error)}); write it again") from error


class _Bomb(Exception):
    """Error for a file that would take too much memory or time."""


def _expansion_error(path: Path, expanded: int, limit: int, unit: str, size: int) -> _Bomb:
    return _Bomb(
        f"{escape(path)}: expands to {expanded:,} bytes or more, over {limit:,} times the {size:,} of {unit}; "
        "text does not repeat so often: check where it comes from, or convert it to .jsonl"
    )


def _check_chunks(path: Path, metadata: FileMetaData) -> None:
    """Check from the metadata, before any value is decoded, that a file is not mostly repetition or empty rows."""
    chunks = [
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    size, expanded = path.stat().st_size, sum(chunk.total_uncompressed_size for chunk in chunks)
    if metadata.num_rows > max(1_000_000, MAX_ROWS * size):
        raise _Bomb(
            f"{escape(path)}: {metadata.num_rows:,} rows in {size:,} bytes, over {MAX_ROWS} per byte: they can hold no "
            "texts; check where it comes from"
        )
    if expanded > max(HARMLESS, MAX_EXPANSION * size):
        raise _expansion_error(path, expanded, MAX_EXPANSION, "the file", size)
    for chunk in chunks:
        size, expanded = chunk.total_compressed_size, chunk.total_uncompressed_size
        if chunk.has_dictionary_page and expanded > max(MAX_LINE, MAX_DICTIONARY * size):
            raise _expansion_error(path, expanded, MAX_DICTIONARY, f"column {escape(chunk.path_in_schema, 60)}", size)


def _bound_batches(path: Path, batches: Iterable[RecordBatch]) -> Iterator[RecordBatch]:
    """Yield batches while their total size is in proportion to the file: it may repeat one value a million times."""
    size, expanded = path.stat().st_size, 0
    for batch in batches:
        expanded += batch.nbytes + batch.num_rows
        if expanded > max(HARMLESS, MAX_EXPANSION * size):
            raise _expansion_error(path, expanded, MAX_EXPANSION, "the file", size)
        yield batch


def _decode_rows(batch: RecordBatch) -> list[dict[str, object] | str]:
    """Decode the rows of a batch, each to a record or to its fault."""
    if batch.num_rows == 1 and batch.nbytes > MAX_ROW:
        return [f"a row of {batch.nbytes:,} bytes, more than {MAX_ROW:,}; split it, or drop it"]
    try:
        if batch.nbytes <= MAX_ROW:
            return batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return ["not UTF-8; write the text anew"]
    return [row for i in range(batch.num_rows) for row in _decode_rows(batch.slice(i, 1))]
