"""One event loop for asynchronous rewards, in a thread of its own."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import Future
from typing import Any


def run_in_background(awaitable: Awaitable[Any]) -> Future[Any]:
    """Run an awaitable in the background, also where this thread has a running event loop, as in notebooks.

    Args:
        awaitable: Coroutine of an ``async def`` function.

    Returns:
        Future of its result. All awaitables of a process share one loop, so their sessions and locks stay valid.
    """

    async def run() -> Any:
        return await awaitable

    return asyncio.run_coroutine_threadsafe(run(), _loop(os.getpid()))


@functools.cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """Event loop of a process; the key is the process id, as a forked process has the loop but not its thread."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="semalign-rewards", daemon=True).start()
    return loop
