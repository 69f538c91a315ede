"""Errors of writing, explained in one line: the file, the reason, the free space and the remedy."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from semalign_pl.files.file_errors import find_remedy, shorten_path

_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FULL_DISK_MESSAGE = re.compile(
    rf"No space left on device|Disk quota exceeded|File too large|os error ({'|'.join(map(str, sorted(_FULL)))})\b"
    r"|\d+ requested and \d+ written|No usable temporary directory"
)
"""Messages of a full disk. Rust, Arrow, NumPy and tempfile give the reason only in the text, not as an ``errno``."""


class WriteError(OSError, ValueError):
    """Error for a file or folder that cannot be written. Its old content, if there was any, is unchanged.

    It is a ``ValueError``, so that the command line prints it in one line. It is also an ``OSError``, so that code that
    can work without the file catches it like any other error of the disk.

    Args:
        message: One line with file, reason and remedy.
        reason: Reason alone, as the error's ``strerror``.
    """

    def __init__(self, message: str, reason: str | None = None) -> None:
        super().__init__(message)
        self.strerror = reason


def find_full_disk(error: BaseException) -> str | None:
    """Reason, in the words of the operating system, if a full disk caused an error; ``None`` for any other error.

    Args:
        error: Error to examine, with the errors that led to it. torch.save, for instance, raises a ``RuntimeError``
            while it handles the ``OSError`` of the file.
    """
    for cause in _chain(error):
        if isinstance(cause, OSError) and cause.errno in _FULL:
            return os.strerror(cause.errno or 0)
        if match := _FULL_DISK_MESSAGE.search(str(cause)):
            return match[0]
    return None


def explain_full_disk(error: BaseException) -> str | None:
    """One line about an error that a full disk caused, wherever it was raised; ``None`` for any other error.

    Args:
        error: Error to examine, with the errors that led to it.
    """
    if (write_error := next((cause for cause in _chain(error) if isinstance(cause, WriteError)), None)) is not None:
        return str(write_error)
    if (reason := find_full_disk(error)) is None:
        return None
    named = next((c.filename for c in _chain(error) if isinstance(c, OSError) and c.filename), None)
    if named is not None:
        return describe_full_disk(Path(os.fsdecode(named)), reason)
    return (
        f"a file could not be written, because a disk is full ({reason}); free are {_free(Path.cwd())} and "
        f"{_free(Path(tempfile.gettempdir()))} (TMPDIR); free some space, or set TMPDIR to another folder"
    )


def describe_full_disk(path: Path, reason: str) -> str:
    """One line that says that a full disk kept a file or folder from being written, and what to do.

    Args:
        path: File or folder to name.
        reason: Reason, in the words of the operating system.
    """
    return (
        f"{path}: not written, because the disk is full ({reason}; free is {_free(path.parent)}); what was there "
        "before is unchanged; free some space there, or write to another disk"
    )


@contextlib.contextmanager
def explain_errors(path: Path, only_full: bool = False) -> Iterator[None]:
    """Turn an error of the disk into a ``WriteError`` that names the file or folder to be written.

    Args:
        path: File or folder to name.
        only_full: True to turn only errors of a full disk, for a block that also reads files.

    Raises:
        WriteError: If the block raises such an error. The message has file, reason, and remedy, and the free space for
            a full disk.
    """
    try:
        yield
    except WriteError:
        raise
    except Exception as error:
        if (reason := find_full_disk(error)) is not None:
            raise WriteError(describe_full_disk(path, reason), reason) from error
        if only_full or not isinstance(error, OSError):
            raise
        reason = error.strerror or str(error)
        remedy = find_remedy(error) or "give a folder that can be written to"
        unchanged = "cannot be written; what was there before is unchanged"
        raise WriteError(f"{shorten_path(str(path))}: {reason}: {unchanged}; {remedy}", reason) from error


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _free(folder: Path) -> str:
    """Free space of a folder's disk, as text with a unit."""
    folder = folder.absolute()
    while not folder.exists():
        folder = folder.parent
    size = float(shutil.disk_usage(folder).free)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 1000:
            break
        size, unit = size / 1000, "TB"
    return f"{size:.3g} {unit} in {folder}"
