"""Folders written by ``save_to_disk`` of ``datasets``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from semalign_pl.data.reading.formats.account import Intake
from semalign_pl.data.reading.formats.record import Item, one_line, shown
from semalign_pl.data.reading.formats.tables import dataset_rows
from semalign_pl.files.documents import read_json

_REMEDY = "call save_to_disk again"


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
        raise ValueError(f"{shown(path)}: a folder of save_to_disk has no configurations; leave out :{shown(config)}")
    if several.is_file():
        there, inside = _record(several).get("splits"), path / split
    else:
        there, inside = [_record(one).get("_split")], path
    if not isinstance(there, list) or (split not in there and (several.is_file() or named is not None)):
        splits = ", ".join(map(str, there if isinstance(there, list) else []))
        raise ValueError(
            f"{shown(path)}: no split {split!r}; there are {shown(splits, 300)}; name one: {shown(path)}@…"
        )
    return inside


def _record(path: Path) -> dict[str, object]:
    value = read_json(path, _REMEDY, shown(path))
    return value if isinstance(value, dict) else {}


def saved_folder(path: Path, columns: set[str], intake: Intake) -> Iterator[Item]:
    """Yield the rows of a dataset written by ``save_to_disk``, without its output format such as torch.

    Args:
        path: Path of the folder of one split.
        columns: Names of the wanted columns; empty for all.
        intake: Number of rows read, updated while reading.

    Raises:
        ValueError: If the dataset cannot be loaded.
    """
    import datasets

    try:
        table = datasets.load_from_disk(str(path))
    except Exception as error:
        raise ValueError(f"{shown(path)}: cannot be loaded ({one_line(error)}); {_REMEDY}") from error
    assert isinstance(table, datasets.Dataset)
    return dataset_rows(path, table.with_format(None), columns, intake, _REMEDY, {"split": table.split})
