"""Parquet files by way of pyarrow; folders and hub datasets by way of ``datasets``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from semalign_pl.data.formats.account import Intake
from semalign_pl.data.formats.record import Item, bad_row, one_line, shown


def parquet(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """The rows of one Parquet file, a batch at a time (``datasets`` keeps what it has read of a file)."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    number = 0
    try:
        with ParquetFile(path, pre_buffer=False) as file:
            intake.lines = file.metadata.num_rows
            names = file.schema_arrow.names
            wanted = [name for name in names if name in columns]
            # Where a column is missing, all are kept, so that the error can name them.
            chosen = wanted if columns <= set(names) else names
            for batch in file.iter_batches(1024, columns=chosen):
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


def folder(path: Path, config: str | None, split: str, columns: set[str], intake: Intake) -> Iterator[Item]:
    """A split of a folder laid out like a hub dataset, read afresh."""
    remedy = "name folder:config@split, see how `datasets` wants a folder laid out, or name one file in it"
    return _rows(path, str(path), columns, intake, remedy, {"name": config, "split": split, "streaming": True})


def saved_splits(path: Path, config: str | None, split: str, named: str | None) -> Path | None:
    """The folder of a split that ``save_to_disk`` wrote, or None if it did not write the folder.

    Args:
        path: The folder.
        config: Configuration that the user named.
        split: Split that is wanted.
        named: Split that the user named for this folder.

    Raises:
        ValueError: There is no such split, or a configuration is named; saved folders have none.
    """
    several, one = path / "dataset_dict.json", path / "state.json"
    if not (several.is_file() or (one.is_file() and (path / "dataset_info.json").is_file())):
        return None
    if config is not None:
        raise ValueError(f"{shown(path)}: a folder of save_to_disk has no configurations; leave out :{shown(config)}")
    if several.is_file():
        there, inside = _json(several).get("splits"), path / split
    else:
        there, inside = [_json(one).get("_split")], path
    if not isinstance(there, list) or (split not in there and (several.is_file() or named is not None)):
        splits = ", ".join(map(str, there if isinstance(there, list) else []))
        raise ValueError(
            f"{shown(path)}: no split {split!r}; there are {shown(splits, 300)}; name one: {shown(path)}@…"
        )
    return inside


def _json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{shown(path)}: not JSON ({one_line(error)}); call save_to_disk again") from error
    return value if isinstance(value, dict) else {}


def saved(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """A dataset that ``save_to_disk`` wrote; its format, such as torch, is not applied."""
    import datasets

    try:
        table = datasets.load_from_disk(str(path))
    except Exception as error:
        raise ValueError(f"{shown(path)}: cannot be loaded ({one_line(error)}); call save_to_disk again") from error
    assert isinstance(table, datasets.Dataset)
    return _items(path, table.with_format(None), columns, intake, "call save_to_disk again", {"split": table.split})


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
    return _items(source, _load(source, loader, remedy, options), columns, intake, remedy, options)


def _items(
    source: Path | str, table: Any, columns: set[str], intake: Intake, remedy: str, options: dict[str, Any]
) -> Iterator[Item]:
    # Where a column is missing, all are kept, so that the error can name them.
    if columns <= set(table.column_names or ()):
        table = table.select_columns(sorted(columns))
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
