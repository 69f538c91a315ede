"""Readers of corpora, one per file format. Each streams items, and accounts for every line of its input.

JSON, CSV, TSV and plain text are parsed with the standard library. The readers of ``datasets`` guess types (measured on
5.2: a column of ``"2020-01-01"`` becomes datetimes, a CSV cell ``NA`` becomes null and ``007`` becomes 7) and lose line
numbers. Formats that store types are read with pyarrow (Parquet) or ``datasets`` (hub, folders), imported only then.
"""

from semalign_pl.data.reading.formats.account import Counts
from semalign_pl.data.reading.formats.locate import find_source_files
from semalign_pl.data.reading.formats.quoting import Quoting
from semalign_pl.data.reading.formats.record import MAX_TEXT, BadRow, Record, bad_row, escape, quote, top_column
from semalign_pl.data.reading.formats.source_file import SUFFIXES, SourceFile

__all__ = [
    "MAX_TEXT",
    "SUFFIXES",
    "BadRow",
    "Counts",
    "Quoting",
    "Record",
    "SourceFile",
    "bad_row",
    "find_source_files",
    "quote",
    "escape",
    "top_column",
]
