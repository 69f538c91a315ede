"""One event loop for asynchronous rewards, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any


def start(awaitable: Awaitable[Any]) -> Future[Any]:
    """Run an awaitable in the background, also where this thread has a running event loop, as in notebooks.

    Args:
        awaitable: What an ``async def`` function returned.

    Returns:
        Its result to come. All awaitables of a process share one loop, so what they keep (sessions, locks) stays valid.
    """

    async def run() -> Any:
        return await awaitable

    return asyncio.run_coroutine_threadsafe(run(), _loop(os.getpid()))


@functools.cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """The loop of a process; a forked one would wait for a thread that it does not have."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="semalign-rewards", daemon=True).start()
    return loop
