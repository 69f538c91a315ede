"""A line that counts rows while something takes its time."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
_PATIENCE_SECONDS = 2.0


def counted(items: Iterable[T], title: str) -> Iterator[T]:
    """The same items; from the third second on, a line on the terminal says how many there were.

    Args:
        items: Of unknown number.
        title: What is being done.
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
