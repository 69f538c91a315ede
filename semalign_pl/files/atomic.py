"""Files and folders are replaced whole: after an error or a kill the old or the new one is there, never half of one.

Everything is written beside its target, never in TMPDIR, which may be another disk: from there a file has to be
copied, and a copy can be cut. Then it is flushed to the disk, so that a power cut cannot leave an empty file under the
new name, and renamed.
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

from semalign_pl.files.disk import WriteError, explained
from semalign_pl.files.unfinished import OLD, create, new_file, new_folder, remove_dead

_clean_once = functools.cache(remove_dead)
"""Once per process and folder: a folder may hold many files."""


_STREAMS = ("/dev/std", "/dev/fd/", "/proc/")
"""Other names of files that are open already, which must stay the files they are."""


@contextlib.contextmanager
def replace_file(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Yield a binary file that takes the place of ``path`` when the block ends without an error.

    The folder is made if absent. A link is followed. The mode is that of the old file, or a new file's under the umask.
    Pipes and devices are written directly.

    Args:
        path: The file to replace or make.
        durable: Wait until the disk has it; a cache whose entries hold checksums need not.

    Raises:
        WriteError: If it cannot be written; the old file is unchanged, and nothing else is left.
    """
    if path.exists() and not path.is_file() or str(path.absolute()).startswith(_STREAMS):
        with explained(path), path.open("wb") as file:
            yield file
        return
    target = Path(os.path.realpath(path))
    with explained(path):
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
    """Replace a file by a text in UTF-8; see `replace_file`."""
    with replace_file(path) as file:
        file.write(text.encode())


def append_text(path: Path, text: str) -> None:
    """Add whole lines to a file, all or none; half a line that a killed process left at its end is removed.

    Raises:
        WriteError: If they cannot be written; the file is unchanged.
    """
    with explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+", buffering=0) as file:
            size = _end_of_lines(file)
            file.truncate(size)
            try:
                content = memoryview(text.encode())
                while content:  # a disk that fills takes what still fits, and says so at the next call
                    content = content[file.write(content) :]
            except BaseException:
                file.truncate(size)
                raise


@contextlib.contextmanager
def temporary_folder(parent: Path, path: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder in ``parent``, removed with all that is left in it when the block ends.

    Where the process is killed before, the next use of this function on the same parent removes it.

    Args:
        parent: Folder to make it in; made if absent.
        path: What is to be written, for the message; ``parent`` by default.

    Raises:
        WriteError: If the folder cannot be made, or the disk is full before the block ends.
    """
    path = path or parent
    with explained(path):
        parent.mkdir(parents=True, exist_ok=True)
        remove_dead(parent)
        made, descriptor = create(parent, new_folder)
    try:
        with explained(path, only_full=True):
            try:
                yield made
            finally:
                shutil.rmtree(made, ignore_errors=True)
                os.close(descriptor)
    except WriteError as error:  # of a file or folder within: the user knows it by its later name
        raise WriteError(str(error).replace(str(made), str(parent)), error.strerror) from error


@contextlib.contextmanager
def replace_folder(path: Path) -> Iterator[Path]:
    """Yield an empty folder that takes the place of ``path`` when the block ends without an error.

    Args:
        path: The folder to replace or make. A link is followed.

    Raises:
        WriteError: If it cannot be written; the old folder is unchanged, and nothing else is left.
    """
    target = Path(os.path.realpath(path))
    with temporary_folder(target.parent, path) as beside:
        made = beside / target.name
        made.mkdir()
        yield made
        move_folder(made, path)


def move_folder(made: Path, path: Path) -> None:
    """Put a finished folder of a `temporary_folder` in the place of ``path``, whose old content is removed.

    Args:
        made: The finished folder, directly in the temporary one, which lies on the same disk.
        path: The folder to replace or make. A link is followed.

    Raises:
        WriteError: If it cannot be put there; the old folder is unchanged.
    """
    target = Path(os.path.realpath(path))
    with explained(path):
        target.parent.mkdir(parents=True, exist_ok=True)
        for folder, _, files in os.walk(made):
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
        if error.errno not in (errno.EINVAL, errno.EBADF):  # file systems that flush no folders
            raise
    finally:
        os.close(descriptor)


def _swap(made: Path, target: Path) -> None:
    """Exchange two folders: at once where the file system can, else in two steps, which `remove_dead` can undo."""
    if _exchange(made, target):
        return
    old = made.parent / OLD / target.name
    old.parent.mkdir()
    os.rename(target, old)
    os.rename(made, target)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange two folders at once by Linux' ``renameat2``; return whether this system and disk could."""
    call = getattr(ctypes.CDLL(None), "renameat2", None)
    current_folder, exchange = -100, 2  # AT_FDCWD and RENAME_EXCHANGE, man 2 renameat2
    return call is not None and 0 == call(
        current_folder, os.fsencode(one), current_folder, os.fsencode(other), ctypes.c_uint(exchange)
    )


def _end_of_lines(file: BinaryIO) -> int:
    """Position behind the last line break."""
    end = file.seek(0, os.SEEK_END)
    while end:
        start = max(0, end - 2**16)
        file.seek(start)
        if (place := file.read(end - start).rfind(b"\n")) >= 0:
            return start + place + 1
        end = start
    return 0
