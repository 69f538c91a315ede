"""What is being written has a name and a lock of its own, by which a later process knows what a killed one left.

The operating system frees the lock of a process that ends, in whatever way.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

PREFIX = ".semalign-"
"""Names of what is being written begin so."""
OLD = "old"
"""Folder, in a folder that is being written, of the one that it takes the place of; see ``atomic.py``."""


def remove_dead(folder: Path, pattern: str = f"{PREFIX}*") -> None:
    """Remove what killed processes left half written in a folder; what a process still writes is locked, and stays.

    Args:
        folder: The folder.
        pattern: Names of what is being written.
    """
    for path in folder.glob(pattern):
        try:
            descriptor = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW)
        except OSError:  # it is gone, or another user's
            continue
        try:
            if not _lock(descriptor):
                continue
            for old in path.glob(f"{OLD}/*"):  # killed within `_swap`
                if not (folder / old.name).exists():
                    os.rename(old, folder / old.name)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:  # another process removes it now, or it is another user's
            continue
        finally:
            os.close(descriptor)


def create(folder: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Make a file or folder under a new name and lock it; return its path and its open descriptor."""
    while True:
        path = folder / f"{PREFIX}{secrets.token_hex(8)}"
        descriptor = make(path)
        locked = _lock(descriptor)
        if locked is None or (locked and path.exists()):
            return path, descriptor
        os.close(descriptor)  # another process took it for dead before it was locked


def new_file(path: Path) -> int:
    """Make a file for `create`, with the mode that the umask gives."""
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)  # mkstemp's file would be its owner's alone


def new_folder(path: Path) -> int:
    """Make a folder for `create`."""
    os.mkdir(path)
    return os.open(path, os.O_RDONLY)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file or folder: True if it was free, False if not, None where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
