"""Lock of a run's folder: one run at a time."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from semalign_pl.files.file_errors import find_remedy, shorten_path

ORPHANS_SECONDS = 20.0
"""Longest wait for the lock of a dead process. Its data loader workers inherit the lock, and end after 5 seconds."""


@dataclass(frozen=True)
class Holder:
    """Process that holds a lock, as the lock's file names it.

    Attributes:
        pid: Process id.
        host: Name of its machine.
        since: Time when it took the lock, ISO 8601 in UTC.
    """

    pid: int
    host: str
    since: str


@contextlib.contextmanager
def hold(folder: Path, kind: str, option: str = "trainer.default_root_dir") -> Iterator[None]:
    """Lock a folder against other runs of a kind, until the block or the process ends, however the process ends.

    This is a lock of the operating system (``flock``) on ``.KIND.lock`` in the folder. The file names the process that
    holds the lock. It remains after the run and means nothing by itself. On NFS, Linux passes flock to the server
    (since 2.6.12), so all machines share the lock. On mounts with ``local_lock`` or ``nolock``, it stops only runs on
    the same machine.

    Args:
        folder: Folder of the run; made if absent, and removed again if nothing else was written to it.
        kind: Kind of the run: ``fit`` or ``test``.
        option: Option that names the folder, for messages.

    Raises:
        ValueError: If another run holds the lock, or the folder cannot be written to.
    """
    file = folder.absolute() / f".{kind}.lock"
    lock = FileLock(file)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        _acquire(lock, file, f"{option}: {folder}")
        holder = Holder(os.getpid(), socket.gethostname(), _now())
        file.write_text(json.dumps(asdict(holder)), encoding="utf-8")
    except OSError as error:
        lock.release()
        remedy = find_remedy(error) or "give another folder"
        raise ValueError(
            f"{option}: {shorten_path(str(folder))} cannot be written to ({error.strerror}); {remedy}"
        ) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            if list(file.parent.iterdir()) == [file]:  # the run ended before it wrote anything
                file.unlink()
        lock.release()
        with contextlib.suppress(OSError):
            file.parent.rmdir()  # only if it is empty


def _acquire(lock: FileLock, file: Path, named: str) -> None:
    for seconds in (0.0, ORPHANS_SECONDS):
        try:
            lock.acquire(timeout=seconds, poll_interval=0.1)
            return
        except Timeout:
            holder = _read_holder(file)
            if holder is None or not _is_dead(holder):
                break
    who = f"process {holder.pid} on {holder.host}, since {holder.since}" if holder else "another process"
    raise ValueError(f"{named} is in use by another run ({who}); wait for it to end, or give another folder")


def _read_holder(file: Path) -> Holder | None:
    """Process that a lock's file names; ``None`` if the file is not written yet."""
    try:
        holder = json.loads(file.read_text(encoding="utf-8"))
        return Holder(int(holder["pid"]), holder["host"], holder["since"])
    except (OSError, ValueError, TypeError, KeyError):  # another process is writing it
        return None


def _is_dead(holder: Holder) -> bool:
    if holder.host != socket.gethostname():
        return False
    try:
        os.kill(holder.pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass
    return False


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")
