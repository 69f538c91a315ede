"""Disks that fill and processes that are killed at a chosen byte, to test what remains."""

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
    """Content of every file below a folder, including hidden ones; ``None`` for folders and links."""
    found = sorted(folder.rglob("*"))
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in found}


def unfinished(folder: Path) -> list[str]:
    """Unfinished files and folders of a killed process."""
    return [name for name in tree(folder) if Path(name).name.startswith(".") and not name.endswith(".lock")]


@contextlib.contextmanager
def file_limit(size: int) -> Iterator[None]:
    """Limit this process's files to ``size`` bytes each: a write fails as on a full disk ("File too large")."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextlib.contextmanager
def small_disk(folder: Path, size: int) -> Iterator[bool]:
    """Mount a disk of ``size`` bytes at ``folder``; yield false if this machine does not allow mounting."""
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
    """Leave ``size`` bytes free on a `small_disk`, or limit files to that size if no disk could be mounted."""
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
    """Fill the disk of a folder except for the given number of bytes."""
    disk = os.statvfs(folder)
    with (folder / FILLER).open("wb") as file:
        file.write(bytes(disk.f_bavail * disk.f_bsize - free))


def in_process(action: Callable[[], object]) -> int:
    """Run a function in its own process, forked from this one.

    Returns:
        0; 1 after an error; or minus the number of the signal that killed it.
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
    """Run a function in its own process, which the system kills if one of its files would exceed ``size`` bytes."""

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        with file_limit(size):
            action()

    return in_process(limited)


def killed_at_event(number: int, action: Callable[[], object]) -> int:
    """Run a function in its own process, which kills itself before its ``number``-th operation on files (from 0)."""
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
