"""Progress line for loops over rows."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_PATIENCE_SECONDS = 2.0


def track_rows(items: Iterable[T], title: str) -> Iterator[T]:
    """Iterate with a progress line, shown on a terminal after 2 seconds.

    Args:
        items: Items to iterate over; their number need not be known.
        title: Text of the progress line.
    """
    from semalign_pl.messages.console import Console, Text

    console = Console(stderr=True)
    begun = shown = time.monotonic()
    status = None
    try:
        for done, item in enumerate(items):
            if done % 256 == 0 and console.is_terminal and (now := time.monotonic()) - begun > _PATIENCE_SECONDS:
                if status is None:
                    status = console.status(Text(title))
                    status.start()
                if now - shown > 0.5:
                    status.update(Text(f"{title}: {done:,} rows, {done / (now - begun):,.0f} per second"))
                    shown = now
            yield item
    finally:
        if status is not None:
            status.stop()
