"""Pages of labelled lines, for a terminal or a file: each label once, its text wrapped beside it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

WIDTH = 80
"""Number of columns of a page, also where the output is no terminal."""


def lay_out(title: str, rows: Sequence[tuple[str, str]], width: int = WIDTH) -> str:
    """Lines of a page; words longer than a line, such as paths, are not broken, so that they can be copied.

    Args:
        title: First line.
        rows: Label and text of each row; rows of one label in succession show it once.
        width: Maximum number of characters per line.

    >>> print(lay_out("run", [("data", "two words"), ("data", "more"), ("out", "a/b")], width=13))
    run
      data  two
            words
            more
      out   a/b
    """
    column = max((len(label) for label, _ in rows), default=0)
    lines, before = [title], ""
    for label, text in rows:
        shown = "" if label == before else label
        first, later = f"  {shown:<{column}}  ", " " * (column + 4)
        lines += textwrap.wrap(
            text, width, initial_indent=first, subsequent_indent=later, break_long_words=False, break_on_hyphens=False
        )
        before = label
    return "\n".join(lines)


def format_seconds(seconds: float) -> str:
    """Duration in its two largest units.

    Args:
        seconds: Duration in seconds.

    >>> format_seconds(41.6), format_seconds(192), format_seconds(7500), format_seconds(90000)
    ('42 s', '3 min 12 s', '2 h 5 min', '25 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 10 and rest:
        return f"{minutes} min {rest} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 10 and minutes else f"{hours} h"
