"""Event loop for asynchronous rewards, in a background thread."""

from __future__ import annotations

import asyncio
import functools
import os
import threading
from collections.abc import Awaitable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

import torch

T = TypeVar("T")


def run_in_background(awaitable: Awaitable[T]) -> Future[T]:
    """Run an awaitable in the background, even if this thread has a running event loop, as in notebooks.

    Args:
        awaitable: Coroutine of an ``async def`` function.

    Returns:
        Future of its result. All awaitables of a process share one event loop, so their sessions and locks stay valid.
    """

    async def run() -> T:
        return await awaitable

    return asyncio.run_coroutine_threadsafe(run(), _loop(os.getpid()))


@functools.cache
def _loop(process: int) -> asyncio.AbstractEventLoop:
    """Event loop of a process.

    The process id is the cache key: a forked process inherits the cached loop, but not the thread that runs it.
    """
    loop = asyncio.new_event_loop()
    # Rewards need no gradients, which each thread switches off for itself; in a new thread, autocast is off.
    loop.call_soon(torch.set_grad_enabled, False)
    loop.set_default_executor(ThreadPoolExecutor(initializer=torch.set_grad_enabled, initargs=(False,)))
    threading.Thread(target=loop.run_forever, name="semalign-rewards", daemon=True).start()
    return loop
