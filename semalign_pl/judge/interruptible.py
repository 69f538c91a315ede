"""Run a coroutine so that a signal ends it cleanly."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

T = TypeVar("T")
PATIENCE_SECONDS = 5.0
"""Time for the tasks of a cancelled coroutine to end."""


def run_interruptible(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in an event loop of another thread, and wait for it here.

    A signal's handler raises its exception in the main thread. There, it would be raised within whichever task runs,
    and asyncio would report it as that task's own error. Here, it ends the wait, and the coroutine is cancelled.

    Args:
        coroutine: Coroutine to run.

    Returns:
        Its result; its exception is raised.
    """
    result: Future[T] = Future()
    started: Future[tuple[asyncio.AbstractEventLoop, asyncio.Task[Any]]] = Future()

    async def main() -> T:
        task = asyncio.current_task()
        assert task is not None, "this runs in a task"
        started.set_result((asyncio.get_running_loop(), task))
        return await coroutine

    def run() -> None:
        try:
            result.set_result(asyncio.run(main()))
        except BaseException as error:
            result.set_exception(error)

    thread = threading.Thread(target=run, name="semalign-judge", daemon=True)
    thread.start()
    try:
        return result.result()
    except BaseException:
        if not result.done():
            loop, task = started.result(PATIENCE_SECONDS)
            loop.call_soon_threadsafe(task.cancel)
        raise
    finally:
        thread.join(PATIENCE_SECONDS)
