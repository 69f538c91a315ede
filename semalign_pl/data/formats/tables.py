"""Parquet files by way of pyarrow; folders and hub datasets by way of ``datasets``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.record import MAX_LINE, MAX_TEXT, Item, bad_row, one_line, shown, wanted_columns

MAX_ROWS = 10
"""Rows per byte of a Parquet file, beyond the first million: more are empty, and take minutes to read."""
MAX_EXPANSION = 1000
"""Factor by which a Parquet file may expand: text compresses 3 to 20 times, and a text may come back in some rows more,
but 900 bytes can hold 5 GB of one value."""
MAX_DICTIONARY = 100
"""Factor by which a column's dictionary may expand; its values are distinct, and each is decoded once per row."""
HARMLESS = 64_000_000
"""Bytes that a file may expand to in any case."""
MAX_ROW = 32 * MAX_TEXT
"""Bytes of a row's columns: eight texts of `MAX_TEXT` characters of 4 bytes."""
BATCH = 16
"""Rows decoded at a time. Few, because a value of any length may be repeated in each at no cost to the file; 1,024 are
only 1.4 times as fast (60,000 pairs in 0.72 s instead of 0.51 s)."""


def parquet(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """The rows of one Parquet file, a batch at a time (``datasets`` keeps what it has read of a file).

    Args:
        path: The file.
        columns: Columns that are wanted; none for all.
        intake: Number of rows by the file's metadata.

    Raises:
        ValueError: It cannot be read, or expands to more than `MAX_EXPANSION` times its size.
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
    """A file that would take too much memory or time."""


def _expanding(path: Path, expanded: int, limit: int, part: str, size: int) -> _Bomb:
    return _Bomb(
        f"{shown(path)}: expands to {expanded:,} bytes or more, over {limit:,} times the {size:,} of {part}; "
        "text does not repeat so often: check where it comes from, or convert it to .jsonl"
    )


def _check_chunks(path: Path, metadata: Any) -> None:
    """Refuse a file whose metadata says that values are mostly repetition inside, before one is decoded."""
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
    """Yield batches while their size is in proportion to the file: one value may be repeated a million times."""
    size, expanded = path.stat().st_size, 0
    for batch in batches:
        expanded += batch.nbytes + batch.num_rows
        if expanded > max(HARMLESS, MAX_EXPANSION * size):
            raise _expanding(path, expanded, MAX_EXPANSION, "the file", size)
        yield batch


def _decoded(batch: Any) -> list[dict[str, Any] | str]:
    """Return a batch's rows, each as a record or as its fault."""
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
    """A split of a folder laid out like a hub dataset, read afresh."""
    remedy = "name folder:config@split, see how `datasets` wants a folder laid out, or name one file in it"
    return _rows(path, str(path), columns, intake, remedy, {"name": config, "split": split, "streaming": True})


def hub(source: str, name: str, config: str | None, split: str, columns: set[str], intake: Intake) -> Iterator[Item]:
    """A split of a hub dataset, by way of the hub's own cache, which follows the dataset's revisions."""
    return _rows(source, name, columns, intake, _HUB_REMEDY, {"name": config, "split": split})


_HUB_REMEDY = (
    "check owner/name:config@split, log in (`hf auth login`), unset HF_HUB_OFFLINE, or name a .jsonl, .csv, .tsv or "
    ".parquet file"
)


def hub_revision(source: str, name: str, config: str | None, split: str) -> str:
    """Fingerprint of a hub dataset's split, which changes with its revision."""
    return _load(source, name, _HUB_REMEDY, {"name": config, "split": split})._fingerprint


def _rows(
    source: Path | str, loader: str, columns: set[str], intake: Intake, remedy: str, options: dict[str, Any]
) -> Iterator[Item]:
    return dataset_rows(source, _load(source, loader, remedy, options), columns, intake, remedy, options)


def dataset_rows(
    source: Path | str, table: Any, columns: set[str], intake: Intake, remedy: str, options: dict[str, Any]
) -> Iterator[Item]:
    """Yield the rows of a dataset that `datasets` has loaded.

    Args:
        source: Name in messages.
        table: The dataset.
        columns: Columns that are wanted; none for all.
        intake: Count of the rows.
        remedy: End of the message if it cannot be read.
        options: Options that it was loaded with.

    Raises:
        ValueError: It cannot be read.
    """
    if table.column_names:
        table = table.select_columns(wanted_columns(table.column_names, columns))
    try:
        for number, row in enumerate(table, 1):
            intake.lines = number  # what is streamed has no length
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
