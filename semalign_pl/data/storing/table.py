"""Rows on disk: written once, read one at a time, so that memory use does not grow with their number."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

import pyarrow as pa

Row = dict[str, Any]
"""Value of each column of a row: text, ``None``, or a list of token ids."""
BATCH = 128
"""Rows per record batch: enough for fast reading in sequence, few enough for a cheap single row (some 50 us)."""


class TableWriter:
    """Writer of rows to an Arrow file; a context manager.

    Args:
        path: Path of the file to write.
        types: Arrow types of the columns that are not text; every row has these columns.
        columns: Names of columns, besides ``id``, that a row may have. The columns of the first `BATCH` rows are added.

    Attributes:
        path: Path of the file.
        rows: Number of rows written.
    """

    def __init__(self, path: Path, types: Mapping[str, pa.DataType] | None = None, columns: Iterable[str] = ()) -> None:
        self.path, self._types = path, dict(types or {})
        self._columns = tuple(columns)
        self._rows: list[Mapping[str, object]] = []
        self._writer: pa.ipc.RecordBatchFileWriter | None = None
        self.rows = 0

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write the last rows."""
        self._flush()
        if self._writer is not None:
            self._writer.close()

    def write(self, row: Mapping[str, object]) -> None:
        """Add a row.

        Args:
            row: Value of each column.
        """
        self._rows.append(row)
        self.rows += 1
        if len(self._rows) == BATCH:
            self._flush()

    def _flush(self) -> None:
        if not self._rows and self._writer is not None:
            return
        if self._writer is None:
            # Arrow drops columns outside the schema, so a column that only later rows have must be given in advance.
            names = dict.fromkeys(["id", *self._columns, *(name for row in self._rows for name in row)])
            self._schema = pa.schema([(name, self._types.get(name, pa.string())) for name in names])
            self._writer = pa.ipc.new_file(str(self.path), self._schema)
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, self._schema))
        self._rows = []


class Table(Sequence[Row]):
    """Rows of an Arrow file that ``TableWriter`` wrote.

    The file is read, not memory-mapped, because mapped pages would count as this process's memory. The table can be
    pickled: another process opens the file again.

    Args:
        path: Path of the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open()

    def _open(self) -> None:
        self._reader = pa.ipc.open_file(pa.OSFile(str(self.path)))
        last = self._reader.num_record_batches - 1
        self._length = last * BATCH + self._reader.get_batch(last).num_rows if last >= 0 else 0

    def __getstate__(self) -> dict[str, Path]:
        return {"path": self.path}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.path = state["path"]
        self._open()

    def __len__(self) -> int:
        return self._length

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return self._reader.schema.names

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        batch, row = divmod(index % len(self), BATCH)
        return self._reader.get_batch(batch).slice(row, 1).to_pylist()[0]

    def __iter__(self) -> Iterator[Row]:
        for batch in range(self._reader.num_record_batches):
            yield from self._reader.get_batch(batch).to_pylist()
