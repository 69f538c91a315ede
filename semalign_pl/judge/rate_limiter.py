"""Rate limiter: at most so many requests at once and per minute, and none while a server asks to wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator


class RateLimiter:
    """Limits on the requests to one server, for the tasks of one event loop.

    Args:
        parallel: Maximum number of requests at the same time.
        per_minute: Maximum number of requests begun per minute, evenly spaced; ``None`` for no limit.
    """

    def __init__(self, parallel: int, per_minute: float | None = None) -> None:
        self._slots = asyncio.Semaphore(parallel)
        self._gap = 60.0 / per_minute if per_minute else 0.0
        self._next = 0.0

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and hold one of the parallel slots for the block."""
        async with self._slots:
            clock = asyncio.get_running_loop().time
            while (wait := self._next - clock()) > 0:  # a pause may begin while this task waits
                await asyncio.sleep(wait)
            self._next = max(self._next, clock()) + self._gap
            yield

    def pause(self, seconds: float) -> None:
        """Begin no request for some time.

        Args:
            seconds: Time to wait, in seconds.
        """
        self._next = max(self._next, asyncio.get_running_loop().time() + seconds)
