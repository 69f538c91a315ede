"""Atomic writes of files and folders: after an error or a kill there is the old or the new one, never half of one.

Everything is written next to its target, never in TMPDIR. TMPDIR may be another disk, from which a file must be copied,
and a copy can be interrupted. The new file is then flushed to the disk, so that a power cut cannot leave an empty file
under the new name. Last, it is renamed.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import functools
import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from semalign_pl.files.disk import WriteError, explain_errors
from semalign_pl.files.unfinished import OLD, create, new_file, new_folder, remove_dead

_clean_once = functools.cache(remove_dead)
"""``remove_dead``, run once per process and folder, since a folder may hold many files."""


_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")
"""Beginnings of paths that name files which are open already; these files must not be replaced."""


@contextlib.contextmanager
def replace_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file that replaces ``path`` when the block ends without an error.

    A missing folder is made. A link is followed. The file keeps the mode of the old file; a new file has the mode that
    the umask gives. Pipes and devices are written directly.

    Args:
        path: File to replace or make.
        durable: True to wait until the file is on the disk. A cache whose entries hold checksums does not need this.

    Yields:
        The open file.

    Raises:
        WriteError: If the file cannot be written. The old file is unchanged, and no other file is left.
    """
    if path.exists() and not path.is_file() or str(path.absolute()).startswith(_STREAMS):
        with explain_errors(path), path.open("wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    with explain_errors(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean_once(target.parent)
        if target.exists() and not os.access(target, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        made, descriptor = create(target.parent, new_file)
        try:
            with os.fdopen(descriptor, "wb") as file:
                yield file
                file.flush()
                if target.exists():
                    os.fchmod(descriptor, stat.S_IMODE(target.stat().st_mode))
                if durable:
                    os.fsync(descriptor)
                os.replace(made, target)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(made)
            raise
        if durable:
            _sync(target.parent)


def write_text(path: Path, text: str) -> None:
    """Replace a file by a text in UTF-8.

    Args:
        path: File to replace or make, as for `replace_file`.
        text: New content.

    Raises:
        WriteError: If the file cannot be written. The old file is unchanged.
    """
    with replace_file(path) as file:
        file.write(text.encode())


def append_text(path: Path, text: str) -> None:
    """Add whole lines to a file, all or none. Half a line that a killed process left at its end is removed first.

    Args:
        path: File to add to; made if absent.
        text: Lines, each with its line break.

    Raises:
        WriteError: If the lines cannot be written. The whole lines of the file are unchanged.
    """
    with explain_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            size = _end_of_lines(file)
            file.truncate(size)
            try:
                content = memoryview(text.encode())
                while content:  # a nearly full disk writes what still fits; only the next call raises
                    content = content[file.write(content) :]
            except BaseException:
                file.truncate(size)
                raise


@contextlib.contextmanager
def temporary_folder(parent: Path, path: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder in ``parent``, which is removed with its content when the block ends.

    If the process is killed first, the next call of this function with the same parent removes it.

    Args:
        parent: Folder to make the temporary folder in; made if absent.
        path: File or folder that error messages name; ``parent`` by default.

    Yields:
        Path of the temporary folder.

    Raises:
        WriteError: If the folder cannot be made, or the disk is full before the block ends.
    """
    path = path or parent
    with explain_errors(path):
        parent.mkdir(parents=True, exist_ok=True)
        remove_dead(parent)
        made, descriptor = create(parent, new_folder)
    try:
        with explain_errors(path, only_full=True):
            try:
                yield made
            finally:
                shutil.rmtree(made, ignore_errors=True)
                os.close(descriptor)
    except WriteError as error:  # a file or folder in it: the user knows its final name only
        raise WriteError(str(error).replace(str(made), str(parent)), error.strerror) from error


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that replaces ``path`` when the block ends without an error.

    Args:
        path: Folder to replace or make. A link is followed.

    Yields:
        Path of the new folder, to be filled.

    Raises:
        WriteError: If the folder cannot be written. The old folder is unchanged, and nothing else is left.
    """
    target = Path(os.path.realpath(path))
    with temporary_folder(target.parent, path) as beside:
        made = beside / target.name
        made.mkdir()
        yield made
        move_folder(made, path)


def move_folder(made: Path, path: Path) -> None:
    """Replace ``path`` by a finished folder from a `temporary_folder`; the old content of ``path`` is removed.

    Args:
        made: Finished folder, directly in the temporary folder, on the same disk as ``path``.
        path: Folder to replace or make. A link is followed.

    Raises:
        WriteError: If ``path`` cannot be replaced. The old folder is unchanged.
    """
    target = Path(os.path.realpath(path))
    with explain_errors(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder, _, files in os.walk(made):
            for name in files:  # safetensors writes files that only the owner can read
                os.chmod(Path(folder, name), stat.S_IMODE(made.stat().st_mode) & 0o666)
            for name in (*files, "."):
                _sync(Path(folder, name))
        if target.is_dir():
            shutil.copymode(target, made)
        try:
            os.rename(made, target)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _swap(made, target)
        _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EBADF):  # some file systems cannot flush folders
            raise
    finally:
        os.close(descriptor)


def _swap(made: Path, target: Path) -> None:
    """Exchange two folders: in one step if the file system can, else in two steps, which `remove_dead` can undo."""
    if _exchange(made, target):
        return
    old = made.parent / OLD / target.name
    old.parent.mkdir()
    os.rename(target, old)
    os.rename(made, target)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders in one step with Linux's ``renameat2``; return true if this system and disk support it."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    current_folder, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, man 2 renameat2
    return call is not None and 0 == call(
        current_folder, os.fsencode(one), current_folder, os.fsencode(other), ctypes.c_uint(exchange)
    )


def _end_of_lines(file: BinaryIO) -> int:
    """Position right after the last line break, in bytes; 0 if there is none."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 2**16)
        file.seek(start)
        if (place := file.read(end - start).rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0
