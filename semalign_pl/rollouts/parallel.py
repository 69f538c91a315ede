"""Blocking calls side by side, in threads that never keep the process from ending."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, wait
from typing import TypeVar

T = TypeVar("T")


def call_all(calls: Sequence[Callable[[], T]], workers: int, stop: threading.Event) -> list[T]:
    """Run calls in daemon threads, and wait for them in this one, where signals raise their exception.

    Args:
        calls: Functions to call.
        workers: Maximum number of threads.
        stop: Event that is set at the end, also if a call or a signal raises, so that other calls can end early.

    Returns:
        Their results, in the same order; the exception of a call is raised.
    """
    futures: list[Future[T]] = [Future() for _ in calls]
    waiting: queue.SimpleQueue[tuple[Future[T], Callable[[], T]]] = queue.SimpleQueue()
    for pair in zip(futures, calls, strict=True):
        waiting.put(pair)

    def work() -> None:
        while not stop.is_set():
            try:
                future, call = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                future.set_result(call())
            except BaseException as error:
                future.set_exception(error)

    for _ in range(min(workers, len(calls))):
        threading.Thread(target=work, name="semalign-rollouts", daemon=True).start()
    try:
        for future in wait(futures, return_when=FIRST_EXCEPTION).done:
            future.result()  # raises
        return [future.result() for future in futures]
    finally:
        stop.set()
