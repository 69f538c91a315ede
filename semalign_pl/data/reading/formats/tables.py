"""Parquet files, read with pyarrow; folders and hub datasets, read with ``datasets``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from semalign_pl.data.reading.formats.account import Intake
from semalign_pl.data.reading.formats.record import MAX_LINE, MAX_TEXT, Item, bad_row, one_line, shown, wanted_columns

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


def parquet(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """Yield the rows of one Parquet file, read batch by batch; ``datasets`` would keep everything it has read.

    Args:
        path: Path of the file.
        columns: Names of the wanted columns; empty for all.
        intake: Number of rows, set from the file's metadata.

    Raises:
        ValueError: If the file cannot be read, or its rows or expanded bytes are too many for its size.
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path, pre_buffer=False) as file:
            intake.lines = file.metadata.num_rows
            names = file.schema_arrow.names
            _check_chunks(path, file.metadata)
            for batch in _bound_batches(path, file.iter_batches(BATCH, columns=wanted_columns(names, columns))):
                for row in _decoded(batch):
                    number += 1
                    yield Item(number, row if isinstance(row, dict) else bad_row(path, number, row, ""))
    except _Bomb as error:
        raise ValueError(str(error)) from None
    except (ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{shown(path)}: cannot be read as Parquet ({one_line(error)}); write it again") from error


class _Bomb(Exception):
    """Error for a file that would take too much memory or time."""


def _expanding(path: Path, expanded: int, limit: int, part: str, size: int) -> _Bomb:
    return _Bomb(
        f"{shown(path)}: expands to {expanded:,} bytes or more, over {limit:,} times the {size:,} of {part}; "
        "text does not repeat so often: check where it comes from, or convert it to .jsonl"
    )


def _check_chunks(path: Path, metadata: Any) -> None:
    """Check from the metadata, before any value is decoded, that a file is not mostly repetition or empty rows."""
    chunks = [
        metadata.row_group(group).column(column)
        for group in range(metadata.num_row_groups)
        for column in range(metadata.num_columns)
    ]
    size, expanded = path.stat().st_size, sum(chunk.total_uncompressed_size for chunk in chunks)
    if metadata.num_rows > max(1_000_000, MAX_ROWS * size):
        raise _Bomb(
            f"{shown(path)}: {metadata.num_rows:,} rows in {size:,} bytes, over {MAX_ROWS} per byte: they can hold no "
            "texts; check where it comes from"
        )
    if expanded > max(HARMLESS, MAX_EXPANSION * size):
        raise _expanding(path, expanded, MAX_EXPANSION, "the file", size)
    for chunk in chunks:
        size, expanded = chunk.total_compressed_size, chunk.total_uncompressed_size
        if chunk.has_dictionary_page and expanded > max(MAX_LINE, MAX_DICTIONARY * size):
            raise _expanding(path, expanded, MAX_DICTIONARY, f"column {shown(chunk.path_in_schema, 60)}", size)


def _bound_batches(path: Path, batches: Iterable[Any]) -> Iterator[Any]:
    """Yield batches while their total size is in proportion to the file: it may repeat one value a million times."""
    size, expanded = path.stat().st_size, 0
    for batch in batches:
        expanded += batch.nbytes + batch.num_rows
        if expanded > max(HARMLESS, MAX_EXPANSION * size):
            raise _expanding(path, expanded, MAX_EXPANSION, "the file", size)
        yield batch


def _decoded(batch: Any) -> list[dict[str, Any] | str]:
    """Decode the rows of a batch, each to a record or to its fault."""
    if batch.num_rows == 1 and batch.nbytes > MAX_ROW:
        return [f"a row of {batch.nbytes:,} bytes, more than {MAX_ROW:,}; split it, or drop it"]
    try:
        if batch.nbytes <= MAX_ROW:
            return batch.to_pylist()
    except UnicodeDecodeError:
        if batch.num_rows == 1:
            return ["not UTF-8; write the text anew"]
    return [row for i in range(batch.num_rows) for row in _decoded(batch.slice(i, 1))]


def folder(path: Path, config: str | None, split: str, columns: set[str], intake: Intake) -> Iterator[Item]:
    """Yield the rows of a split of a folder with the layout of a hub dataset, read anew at each call.

    Args:
        path: Path of the folder.
        config: Name of the configuration, or None.
        split: Name of the split.
        columns: Names of the wanted columns; empty for all.
        intake: Number of rows read, updated while reading.

    Raises:
        ValueError: If the folder cannot be read.
    """
    remedy = "name folder:config@split, see how `datasets` wants a folder laid out, or name one file in it"
    return _rows(path, str(path), columns, intake, remedy, {"name": config, "split": split, "streaming": True})


def hub(source: str, name: str, config: str | None, split: str, columns: set[str], intake: Intake) -> Iterator[Item]:
    """Yield the rows of a split of a hub dataset, through the hub's own cache, which follows the dataset's revisions.

    Args:
        source: Name of the source as the user wrote it, for messages.
        name: Name of the dataset, ``owner/name``.
        config: Name of the configuration, or None.
        split: Name of the split.
        columns: Names of the wanted columns; empty for all.
        intake: Number of rows read, updated while reading.

    Raises:
        ValueError: If the dataset cannot be read.
    """
    return _rows(source, name, columns, intake, _HUB_REMEDY, {"name": config, "split": split})


_HUB_REMEDY = (
    "check owner/name:config@split, log in (`hf auth login`), unset HF_HUB_OFFLINE, or name a .jsonl, .csv, .tsv or "
    ".parquet file"
)


def hub_revision(source: str, name: str, config: str | None, split: str) -> str:
    """Fingerprint of a hub dataset's split, which changes with the dataset's revision.

    Args:
        source: Name of the source as the user wrote it, for messages.
        name: Name of the dataset, ``owner/name``.
        config: Name of the configuration, or None.
        split: Name of the split.

    Raises:
        ValueError: If the dataset cannot be loaded.
    """
    return _load(source, name, _HUB_REMEDY, {"name": config, "split": split})._fingerprint


def _rows(
    source: Path | str, loader: str, columns: set[str], intake: Intake, remedy: str, options: dict[str, Any]
) -> Iterator[Item]:
    return dataset_rows(source, _load(source, loader, remedy, options), columns, intake, remedy, options)


def dataset_rows(
    source: Path | str, table: Any, columns: set[str], intake: Intake, remedy: str, options: dict[str, Any]
) -> Iterator[Item]:
    """Yield the rows of a dataset loaded by `datasets`.

    Args:
        source: Name of the source, for messages.
        table: Dataset, in memory or streamed.
        columns: Names of the wanted columns; empty for all.
        intake: Number of rows read, updated while reading.
        remedy: Remedy for the end of the message if the dataset cannot be read.
        options: Options that the dataset was loaded with.

    Raises:
        ValueError: If the dataset cannot be read.
    """
    if table.column_names:
        table = table.select_columns(wanted_columns(table.column_names, columns))
    try:
        for number, row in enumerate(table, 1):
            intake.lines = number  # a streamed dataset has no length
            yield Item(number, row)
        if not options.get("streaming"):
            intake.lines = len(table)
    except Exception as error:
        raise _fault(source, remedy, options, error) from error


def _load(source: Path | str, loader: str, remedy: str, options: dict[str, Any]) -> Any:
    import datasets

    try:
        return datasets.load_dataset(loader, **options)
    except Exception as error:
        raise _fault(source, remedy, options, error) from error


def _fault(source: Path | str, remedy: str, options: dict[str, Any], error: Exception) -> ValueError:
    return ValueError(
        f"{shown(source)}: `datasets` cannot load it, split {options['split']!r} ({one_line(error)}); {remedy}"
    )
