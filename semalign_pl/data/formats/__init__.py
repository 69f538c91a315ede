"""One reader a file format: each streams items, and accounts for every line it was given.

Text is parsed with the standard library. The readers of ``datasets`` guess types on the way (measured on 5.2: a column
of ``"2020-01-01"`` becomes datetimes, a CSV cell ``NA`` becomes null and ``007`` becomes 7) and lose line numbers. What
carries its own types goes through pyarrow (Parquet) or ``datasets`` (hub, folders), imported only then.
"""

from semalign_pl.data.formats.account import Counts
from semalign_pl.data.formats.check import fault_of
from semalign_pl.data.formats.files import SUFFIXES
from semalign_pl.data.formats.locate import parts
from semalign_pl.data.formats.part import Part
from semalign_pl.data.formats.quoting import Quoting
from semalign_pl.data.formats.record import MAX_TEXT, BadRow, Record, bad_row, quoted, shown, top_column

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
