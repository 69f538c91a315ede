"""Datasets read with ``datasets``: those of the hub, folders with their layout, and folders of ``save_to_disk``."""

from __future__ import annotations

from collections.abc import Iterator, Sized
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.record import Item, error_line, escape, wanted_columns
from semalign_pl.files.documents import read_json

if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset


_SAVED_REMEDY = "call save_to_disk again"


def folder(path: Path, config: str | None, split: str, columns: set[str], counter: LineCounter) -> Iterator[Item]:
    """Yield the rows of a split of a folder with the layout of a hub dataset, read anew at each call.

    Args:
        path: Path of the folder.
        config: Name of the configuration, or None.
        split: Name of the split.
        columns: Names of the wanted columns; empty for all.
        counter: Number of rows read, updated while reading.

    Raises:
        ValueError: If the folder cannot be read.
    """
    remedy = "name folder:config@split, see how `datasets` wants a folder laid out, or name one file in it"
    table = _load(path, str(path), config, split, remedy, streaming=True)
    return dataset_rows(path, table, columns, counter, remedy, split)


def hub(
    source: str, name: str, config: str | None, split: str, columns: set[str], counter: LineCounter
) -> Iterator[Item]:
    """Yield the rows of a split of a hub dataset, through the hub's own cache, which follows the dataset's revisions.

    Args:
        source: Name of the source as the user wrote it, for messages.
        name: Name of the dataset, ``owner/name``.
        config: Name of the configuration, or None.
        split: Name of the split.
        columns: Names of the wanted columns; empty for all.
        counter: Number of rows read, updated while reading.

    Raises:
        ValueError: If the dataset cannot be read.
    """
    table = _load(source, name, config, split, _HUB_REMEDY)
    return dataset_rows(source, table, columns, counter, _HUB_REMEDY, split)


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
    import datasets

    table = _load(source, name, config, split, _HUB_REMEDY)
    assert isinstance(table, datasets.Dataset), "only folders are streamed"
    return table._fingerprint


def dataset_rows(
    source: Path | str,
    table: Dataset | IterableDataset,
    columns: set[str],
    counter: LineCounter,
    remedy: str,
    split: str,
) -> Iterator[Item]:
    """Yield the rows of a dataset loaded by `datasets`.

    Args:
        source: Name of the source, for messages.
        table: Dataset, in memory or streamed.
        columns: Names of the wanted columns; empty for all.
        counter: Number of rows read, updated while reading.
        remedy: Remedy for the end of the message if the dataset cannot be read.
        split: Name of the split, for the message.

    Raises:
        ValueError: If the dataset cannot be read.
    """
    if table.column_names:
        table = table.select_columns(wanted_columns(table.column_names, columns))
    try:
        for number, row in enumerate(table, 1):
            counter.lines = number  # a streamed dataset has no length
            yield Item(number, row)
        if isinstance(table, Sized):
            counter.lines = len(table)
    except Exception as error:
        raise _fault(source, remedy, split, error) from error


def _load(
    source: Path | str, name: str, config: str | None, split: str, remedy: str, streaming: bool = False
) -> Dataset | IterableDataset:
    import datasets

    try:
        return datasets.load_dataset(name, config, split=split, streaming=streaming)
    except Exception as error:
        raise _fault(source, remedy, split, error) from error


def _fault(source: Path | str, remedy: str, split: str, error: Exception) -> ValueError:
    return ValueError(f"{escape(source)}: `datasets` cannot load it, split {split!r} ({error_line(error)}); {remedy}")


def saved_split(path: Path, config: str | None, split: str, named: str | None) -> Path | None:
    """Return the folder of a split written by ``save_to_disk``, or None for any other folder.

    Args:
        path: Path of the folder.
        config: Name of the configuration that the user wrote, if any.
        split: Name of the wanted split.
        named: Name of the split that the user wrote for this folder, if any.

    Raises:
        ValueError: If there is no such split, or a configuration is named: saved folders have none.
    """
    several, one = path / "dataset_dict.json", path / "state.json"
    if not (several.is_file() or (one.is_file() and (path / "dataset_info.json").is_file())):
        return None
    if config is not None:
        raise ValueError(f"{escape(path)}: a folder of save_to_disk has no configurations; leave out :{escape(config)}")
    if several.is_file():
        there, inside = _read_info(several).get("splits"), path / split
    else:
        there, inside = [_read_info(one).get("_split")], path
    if not isinstance(there, list) or (split not in there and (several.is_file() or named is not None)):
        splits = ", ".join(map(str, there if isinstance(there, list) else []))
        raise ValueError(
            f"{escape(path)}: no split {split!r}; there are {escape(splits, 300)}; name one: {escape(path)}@…"
        )
    return inside


def _read_info(path: Path) -> dict[str, object]:
    value = read_json(path, _SAVED_REMEDY, escape(path))
    return value if isinstance(value, dict) else {}


def saved_folder(path: Path, columns: set[str], counter: LineCounter) -> Iterator[Item]:
    """Yield the rows of a dataset written by ``save_to_disk``, without its output format such as torch.

    Args:
        path: Path of the folder of one split.
        columns: Names of the wanted columns; empty for all.
        counter: Number of rows read, updated while reading.

    Raises:
        ValueError: If the dataset cannot be loaded.
    """
    import datasets

    try:
        table = datasets.load_from_disk(str(path))
    except Exception as error:
        raise ValueError(f"{escape(path)}: cannot be loaded ({error_line(error)}); {_SAVED_REMEDY}") from error
    assert isinstance(table, datasets.Dataset)
    return dataset_rows(path, table.with_format(None), columns, counter, _SAVED_REMEDY, str(table.split))
