"""Disks that fill and processes that are killed at a chosen byte, for tests of what is left then."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

FILLER = "filler"
Tree = dict[str, bytes | None]


def tree(folder: Path) -> Tree:
    """Every file below a folder with its content, hidden ones too; folders and links are ``None``."""
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def unfinished(folder: Path) -> list[str]:
    """What a killed process left half written."""
    return [name for name in tree(folder) if Path(name).name.startswith(".") and not name.endswith(".lock")]


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """No file of this process can grow beyond ``size`` bytes: a write fails as on a full disk ("File too large")."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """A disk of ``size`` bytes at ``folder``; yields False where this machine lets nobody mount one."""
    folder.mkdir(parents=True, exist_ok=True)
    mounted = (
        sys.platform == "linux"
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
        ).returncode
        == 0
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", folder], check=True)


@contextlib.contextmanager
def room(folder: Path, size: int, mounted: bool) -> Iterator[None]:
    """Leave so many bytes free on a `small_disk`, or let files grow to so many where none could be mounted."""
    if not mounted:
        with file_limit(size):
            yield
        return
    fill(folder, size)
    try:
        yield
    finally:
        (folder / FILLER).unlink()


def fill(folder: Path, free: int) -> None:
    """Fill the disk of a folder but for so many bytes."""
    disk = os.statvfs(folder)
    with (folder / FILLER).open("wb") as file:
        file.write(bytes(disk.f_bavail * disk.f_bsize - free))


def in_process(action: Callable[[], object]) -> int:
    """Run in a process of its own, forked from this one.

    Returns:
        0; 1 after an error; or minus the signal that killed it.
    """
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            action()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def killed_at(size: int, action: Callable[[], object]) -> int:
    """Run in a process of its own that the system kills when one of its files would grow beyond ``size`` bytes."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        with file_limit(size):
            action()

    return in_process(limited)


def killed_at_event(number: int, action: Callable[[], object]) -> int:
    """Run in a process of its own that kills itself before its ``number``-th operation on files (from 0)."""
    events = ("open", "os.", "shutil.", "fcntl.", "ctypes.call_function")

    def struck() -> None:
        count = 0

        def hook(event: str, _: object) -> None:
            nonlocal count
            if event.startswith(events):
                count += 1
                if count == number + 1:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        action()

    return in_process(struck)
