"""Check of one field's text."""

from __future__ import annotations

import re
from typing import Any

from semalign_pl.data.reading.formats.record import MAX_TEXT, quoted

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def fault_of(value: Any) -> str | None:
    """Fault of a field's value and its remedy, for a message, or None if the value is valid.

    Valid text has 1 to `MAX_TEXT` characters, is not blank, and contains neither half a surrogate pair nor control
    characters other than tab, line feed and carriage return.
    """
    if not isinstance(value, str):
        return f"not text but {quoted(value)} ({type(value).__name__}); write it as text"
    if len(value) > MAX_TEXT:
        return (
            f"of {len(value):,} characters, {quoted(value)} …, more than {MAX_TEXT:,}: a line break got lost; split it"
        )
    if not value or value.isspace():
        return f"empty ({quoted(value)}); fill it in"
    if found := _CONTROL.search(value):
        near = quoted(value[max(0, found.start() - 20) :])
        if found[0] >= "\ud800":
            return f"not Unicode text, half a surrogate pair in {near}; mend it"
        return f"not plain text, the control character U+{ord(found[0]):04X} in {near}; take it out"
    return None
