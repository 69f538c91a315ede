"""Parquet files by way of pyarrow; folders and hub datasets by way of ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.record import Item, bad_row, one_line, shown, wanted_columns


def parquet(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """The rows of one Parquet file, a batch at a time (``datasets`` keeps what it has read of a file)."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path, pre_buffer=False) as file:
            intake.lines = file.metadata.num_rows
            names = file.schema_arrow.names
            for batch in file.iter_batches(1024, columns=wanted_columns(names, columns)):
                for row in _decoded(batch):
                    number += 1
                    yield Item(number, row or bad_row(path, number, "not UTF-8; write the text anew", ""))
    except (ArrowException, OSError, ValueError) as error:
        raise ValueError(f"{shown(path)}: cannot be read as Parquet ({one_line(error)}); write it again") from error


def _decoded(batch: Any) -> list[dict[str, Any] | None]:
    """A batch's rows; None for one whose bytes are no text."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        rows = [batch.slice(i, 1) for i in range(batch.num_rows)]
        return [None] if len(rows) == 1 else [row for one in rows for row in _decoded(one)]


def folder(path: Path, split: str, columns: set[str], intake: Intake) -> Iterator[Item]:
    """A split of a folder laid out like a hub dataset, read afresh."""
    remedy = "see how `datasets` wants a folder laid out, or name one file in it"
    return _rows(path, str(path), columns, intake, remedy, {"split": split, "streaming": True})


def hub(source: str, name: str, config: str | None, split: str, columns: set[str], intake: Intake) -> Iterator[Item]:
    """A split of a hub dataset, by way of the hub's own cache, which follows the dataset's revisions."""
    return _rows(source, name, columns, intake, _HUB_REMEDY, {"name": config, "split": split})


_HUB_REMEDY = (
    "check owner/name:config@split, log in (`hf auth login`), unset HF_HUB_OFFLINE, or name a .jsonl, .csv, .tsv or "
    ".parquet file"
)


def hub_revision(source: str, name: str, config: str | None, split: str) -> str:
    """What tells one revision of a hub dataset's split from another."""
    return _load(source, name, _HUB_REMEDY, {"name": config, "split": split})._fingerprint


def _rows(
    source: Path | str, loader: str, columns: set[str], intake: Intake, remedy: str, options: dict[str, Any]
) -> Iterator[Item]:
    table = _load(source, loader, remedy, options)
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
