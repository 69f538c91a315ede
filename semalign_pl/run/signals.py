"""Signals that ask a process to end: Ctrl-C, SIGTERM, SIGHUP (terminal closed) and SIGUSR1 (SLURM's warning)."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from types import FrameType

ASKING = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)
)  # Windows has only the first two
SAME_REQUEST_SECONDS = 1.0
"""Signals within this time are one request: a terminal that closes sends two SIGHUPs, and systemd sends a SIGHUP after
its SIGTERM."""
GRACE_SECONDS = 20.0
"""Seconds that a stopped process has for its clean-up before it is ended without it."""

WAKE_SECONDS = 0.2
"""Seconds after which a signal that was not handled yet is sent to the main thread once more."""

log = logging.getLogger(__name__)


class Stopped(SystemExit):
    """Exit by a signal, with the exit status that shells use: 128 + the signal's number.

    Args:
        number: Number of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


class StopRequest:
    """Signal handler that records the first signal or raises ``Stopped`` at once; a second signal always raises.

    Args:
        waits: True to record the first signal, so that the current step can be finished first.

    Attributes:
        waits: True if the first signal is recorded instead of raising.
        number: Number of the recorded signal; 0 before the first.
    """

    def __init__(self, waits: bool) -> None:
        self.waits, self.number, self._at = waits, 0, -SAME_REQUEST_SECONDS

    def __call__(self, number: int, frame: FrameType | None = None) -> None:
        """Handle a signal.

        Args:
            number: Number of the signal.
            frame: Current stack frame; unused.

        Raises:
            Stopped: If ``waits`` is false, or this is a second signal.
        """
        if time.monotonic() - self._at < SAME_REQUEST_SECONDS:
            return
        again = self.number != 0
        self.note(number)
        if again or not self.waits:
            raise Stopped(number)
        log.warning("%s: finishing this step, then saving; send it again to stop at once", name_of(number))

    def note(self, number: int) -> None:
        """Record a signal of this process or of another rank.

        Args:
            number: Number of the signal.
        """
        self.number, self._at = number, time.monotonic()


def name_of(number: int) -> str:
    """Name of a signal, for messages.

    Args:
        number: Number of the signal.
    """
    return "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name


def install(handler: Callable[[int, FrameType | None], object], numbers: Iterable[int] = ASKING) -> None:
    """Install a handler for signals, except for ignored ones (``nohup``). Outside the main thread this does nothing.

    Args:
        handler: Signal handler, as for ``signal.signal``.
        numbers: Numbers of the signals.
    """
    if threading.current_thread() is threading.main_thread():
        for number in numbers:
            if signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, handler)


@contextlib.contextmanager
def ending_by_signals() -> Iterator[None]:
    """Let signals end the block: one line, no traceback, exit status 128 + signal, within ``GRACE_SECONDS``.

    Raises:
        Stopped: If a signal arrives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in ASKING}
    install(StopRequest(waits=False))
    with _watchdog():
        try:
            yield
        except Stopped as stopped:
            print(f"semalign: stopped by {name_of(stopped.number)}", file=sys.stderr)
            _end_later(stopped.number)  # a thread or library may keep the interpreter alive
            raise
        finally:
            for number, handler in before.items():
                signal.signal(number, signal.SIG_DFL if handler is None else handler)


@contextlib.contextmanager
def _watchdog() -> Iterator[None]:
    """End the process if a signal's handler cannot run, as while the main thread waits for other ranks.

    Python runs signal handlers in the main thread, between two of its instructions. Python also writes the number of
    each signal to a socket, from which a thread reads it here.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    before = signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    active = [True]

    def in_child() -> None:
        if active:  # a forked child must handle its own signals only
            signal.set_wakeup_fd(-1)
            for number in ASKING:
                if isinstance(signal.getsignal(number), StopRequest):
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
    woken: list[int] = []  # signals of _wake that have not come back here yet: they are no requests
    while numbers := reader.recv(64):  # empty once the writer is closed
        for number in (n for n in numbers if n in ASKING):
            if number in woken:
                woken.remove(number)
                continue
            handler, now = signal.getsignal(number), time.monotonic()
            again = first is not None and now - first > SAME_REQUEST_SECONDS
            first = now if first is None else first
            if again or not (isinstance(handler, StopRequest) and handler.waits):
                _end_later(number)
            if isinstance(handler, StopRequest):
                _later(WAKE_SECONDS, partial(_wake, number, handler, woken))
    reader.close()


def _wake(number: int, handler: StopRequest, woken: list[int]) -> None:
    """Interrupt a wait of the main thread that a signal did not: it came just before, or to another thread."""
    waits = signal.getsignal(number) is handler and not handler.number
    main = threading.main_thread().ident
    if waits and main is not None and hasattr(signal, "pthread_kill"):
        woken.append(number)
        signal.pthread_kill(main, number)


def _end_later(number: int) -> None:
    _later(GRACE_SECONDS, lambda: os._exit(128 + number))


def _later(seconds: float, do: Callable[[], object]) -> None:
    timer = threading.Timer(seconds, do)
    timer.daemon = True
    timer.start()
