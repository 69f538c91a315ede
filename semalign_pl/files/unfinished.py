"""Names and locks of unfinished files and folders, by which a later process recognises what a killed process left.

The operating system frees the locks of a process when the process ends, however it ends.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

PREFIX = ".semalign-"
"""Beginning of the names of unfinished files and folders."""
OLD = "old"
"""Subfolder of an unfinished folder that holds the folder to be replaced during the exchange; see ``atomic.py``."""


def remove_dead(folder: Path, pattern: str = f"{PREFIX}*") -> None:
    """Remove unfinished files and folders of killed processes; those of a running process are locked and kept.

    Args:
        folder: Folder to clean.
        pattern: Glob pattern of the names of unfinished files and folders.
    """
    for path in folder.glob(pattern):
        try:
            descriptor = os.open(path, (os.O_RDONLY if path.is_dir() else os.O_RDWR) | os.O_NOFOLLOW)
        except OSError:  # it is gone, or belongs to another user
            continue
        try:
            if not _lock(descriptor):
                continue
            for old in path.glob(f"{OLD}/*"):  # killed within `_swap`
                if not (folder / old.name).exists():
                    os.rename(old, folder / old.name)
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        except OSError:  # another process is removing it, or it belongs to another user
            continue
        finally:
            os.close(descriptor)


def create(folder: Path, make: Callable[[Path], int]) -> tuple[Path, int]:
    """Make a file or folder under a new name and lock it.

    Args:
        folder: Folder to make it in.
        make: Function that makes it and returns its open descriptor: `new_file` or `new_folder`.

    Returns:
        Its path and its open descriptor.
    """
    while True:
        path = folder / f"{PREFIX}{secrets.token_hex(8)}"
        try:
            descriptor = make(path)
        except FileNotFoundError:
            if not folder.is_dir():
                raise
            continue  # another process removed it as dead before it was opened
        locked = _lock(descriptor)
        if locked is None or (locked and path.exists()):
            return path, descriptor
        os.close(descriptor)  # another process removed it as dead before it was locked


def new_file(path: Path) -> int:
    """Make a file for `create`, with the mode that the umask gives, and return its open descriptor."""
    # Not mkstemp: only the owner could read its file.
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666)


def new_folder(path: Path) -> int:
    """Make a folder for `create` and return its open descriptor."""
    os.mkdir(path)
    return os.open(path, os.O_RDONLY)


def _lock(descriptor: int) -> bool | None:
    """Lock an open file or folder: true if it was free, false if not, ``None`` if the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True
