"""All completions of a training as Parquet, one file per batch in ``RUN/completions``."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from semalign_pl.files.atomic import replace_file

COMPLETIONS = "completions"
"""Name of the subfolder."""
_NAME = re.compile(r"batch-(\d+)(?:-rank-\d+)?\.parquet")


def write_completions(run: Path, batch: int, rank: int | None, columns: Mapping[str, Sequence[object]]) -> None:
    """Write the completions of one batch.

    Args:
        run: Folder of the run.
        batch: Number of the batch in the run, from 1, padded with zeros so that names sort by it.
        rank: Number of the process; ``None`` if there is only one.
        columns: Values by column: whole numbers, truth values, texts, or numbers with ``None`` for "not scored".
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    # Types from the content, except for a column of None alone, which must have the type that it has in other files.
    arrays = {name: pa.array(values) for name, values in columns.items()}
    arrays = {name: one.cast(pa.float64()) if pa.types.is_null(one.type) else one for name, one in arrays.items()}
    who = "" if rank is None else f"-rank-{rank}"
    # Not flushed to the disk: a power cut may lose the last file, which is cheaper than a wait in every step.
    with replace_file(run / COMPLETIONS / f"batch-{batch:06d}{who}.parquet", durable=False) as file:
        pq.write_table(pa.table(arrays), file, compression="zstd")


def cut_completions(run: Path, batches: int) -> None:
    """Remove the files that an earlier attempt wrote after the checkpoint from which a run is resumed.

    Args:
        run: Folder of the run.
        batches: Number of batches done at the checkpoint.
    """
    for path in (run / COMPLETIONS).glob("batch-*.parquet"):
        if (name := _NAME.fullmatch(path.name)) and int(name[1]) > batches:
            path.unlink(missing_ok=True)
