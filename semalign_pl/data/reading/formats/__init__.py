"""Readers of corpora, one per file format. Each streams items, and accounts for every line of its input.

JSON, CSV, TSV and plain text are parsed with the standard library. The readers of ``datasets`` guess types (measured on
5.2: a column of ``"2020-01-01"`` becomes datetimes, a CSV cell ``NA`` becomes null and ``007`` becomes 7) and lose line
numbers. Formats that store types are read with pyarrow (Parquet) or ``datasets`` (hub, folders), imported only then.
"""

from semalign_pl.data.reading.formats.account import Counts
from semalign_pl.data.reading.formats.check import fault_of
from semalign_pl.data.reading.formats.files import SUFFIXES
from semalign_pl.data.reading.formats.locate import parts
from semalign_pl.data.reading.formats.part import Part
from semalign_pl.data.reading.formats.quoting import Quoting
from semalign_pl.data.reading.formats.record import MAX_TEXT, BadRow, Record, bad_row, quoted, shown, top_column

__all__ = [
    "MAX_TEXT",
    "SUFFIXES",
    "BadRow",
    "Counts",
    "Part",
    "Quoting",
    "Record",
    "bad_row",
    "fault_of",
    "parts",
    "quoted",
    "shown",
    "top_column",
]
