"""Write rows to corpus files of every format that keeps nested values."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any


def jsonl(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def json_array(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1), encoding="utf-8")
    return path


def parquet(path: Path, rows: list[dict[str, Any]]) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


def folder(path: Path, rows: list[dict[str, Any]]) -> Path:
    """Rows as `datasets` loads them from the hub: it has a feature type of its own for lists of objects."""
    path.mkdir()
    parquet(path / "train.parquet", rows)
    return path


FORMATS: dict[str, Callable[[Path, list[dict[str, Any]]], Path]] = {
    "c.jsonl": jsonl,
    "c.json": json_array,
    "c.parquet": parquet,
    "folder": folder,
}
