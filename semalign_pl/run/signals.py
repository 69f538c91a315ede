"""Signals that ask a process to end: Ctrl-C, SIGTERM, SIGHUP (the terminal is gone) and SIGUSR1 (SLURM's warning)."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Any

ASKING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)  # Windows has only the first two
SAME_REQUEST_SECONDS = 1.0
"""Signals that follow within this time belong to one request: a terminal that closes sends two SIGHUPs, and systemd a
SIGHUP after its SIGTERM."""
GRACE_SECONDS = 20.0
"""Time for a process that is to end at once, before it is ended without clean-up."""

log = logging.getLogger(__name__)


class Stopped(SystemExit):
    """The command ends by a signal, with the status that shells give: 128 + its number.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class Request:
    """Signal handler that notes the first signal for later, or raises ``Stopped`` at once; the second one raises.

    Args:
        waits: The first signal is noted, since what is being done is finished first.

    Attributes:
        number: Number of the signal that was noted; 0 before.
    """

    def __init__(self, waits: bool) -> None:
        self.waits, self.number, self._at = waits, 0, -SAME_REQUEST_SECONDS

    def __call__(self, number: int, frame: Any = None) -> None:
        """Handle a signal.

        Args:
            number: Number of the signal.
            frame: Unused.

        Raises:
            Stopped: If nothing is finished first, or a second signal says not to.
        """
        if time.monotonic() - self._at < SAME_REQUEST_SECONDS:
            return
        again = self.number != 0
        self.note(number)
        if again or not self.waits:
            raise Stopped(number)
        log.warning("%s: finishing this step, then saving; send it again to stop at once", name_of(number))

    def note(self, number: int) -> None:
        """Note a signal, this process's or another rank's.

        Args:
            number: Number of the signal.
        """
        self.number, self._at = number, time.monotonic()


def name_of(number: int) -> str:
    """Name of a signal for messages.

    Args:
        number: Number of the signal.
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def install(handler: Any, numbers: Iterable[int] = ASKING) -> None:
    """Let a handler take signals, except those that are ignored (``nohup``); outside the main thread do nothing.

    Args:
        handler: Handler as for ``signal.signal``.
        numbers: Numbers of the signals.
    """
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)


@contextlib.contextmanager
def ending_by_signals() -> Iterator[None]:
    """Let signals end the command inside: one line, no traceback, status 128 + signal, within ``GRACE_SECONDS``.

    Raises:
        Stopped: When a signal came.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ASKING}
    install(Request(waits=False))
    with _watchdog():
        try:
            yield
        except Stopped as stopped:
            print(f"semalign: stopped by {name_of(stopped.number)}", file=sys.stderr)
            _end_later(stopped.number)  # a thread or a library may keep the interpreter from ending
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _watchdog() -> Iterator[None]:
    """End the process where a signal's handler does not run, as a main thread that waits for other ranks has none.

    Python's handlers run in the main thread, between two of its instructions. The number of each signal is also
    written to a socket, and a thread reads it there.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    active = [True]

    def in_child() -> None:
        if active:  # a child's signals are its own
            signal.set_wakeup_fd(-1)
            for number in ASKING:
                if isinstance(signal.getsignal(number), Request):
                    signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=in_child)
    threading.Thread(target=_watch, args=(reader,), name="semalign-signals", daemon=True).start()
    try:
        yield
    finally:
        active.clear()
        signal.set_wakeup_fd(before)
        writer.close()


def _watch(reader: socket.socket) -> None:
    first: float | None = None
    while numbers := reader.recv(64):  # empty once the writer is closed
        for number in (n for n in numbers if n in ASKING):
            handler, now = signal.getsignal(number), time.monotonic()
            again = first is not None and now - first > SAME_REQUEST_SECONDS
            first = now if first is None else first
            if again or not (isinstance(handler, Request) and handler.waits):
                _end_later(number)
    reader.close()


def _end_later(number: int) -> None:
    def end() -> None:
        time.sleep(GRACE_SECONDS)
        os._exit(128 + number)

    threading.Thread(target=end, daemon=True).start()
