"""Operating system errors about a user's file or folder, explained in one line with the remedy."""

from __future__ import annotations

import errno

_FOLDER = "give a folder that you may write to (--trainer.default_root_dir, or --out)"
_REMEDIES = {
    errno.EACCES: f"change its permissions, or {_FOLDER}",
    errno.EPERM: f"change its permissions, or {_FOLDER}",
    errno.EROFS: _FOLDER,
    errno.ENAMETOOLONG: "shorten that name; a file system takes 255 bytes per name, and a Tibetan letter has 3",
    errno.ENOTDIR: "a part of this path is a file and no folder; give another path, or move the file away",
    errno.EEXIST: "there is a file of this name where a folder is needed; give another path, or move the file away",
    errno.EISDIR: "there is a folder of this name where a file is needed; give another path, or move the folder away",
    errno.ELOOP: "its symbolic links form a loop; give another path",
    errno.EMFILE: "raise the limit of open files, e.g. ulimit -n 4096",
}


def describe(error: OSError) -> str | None:
    """One line about an error that the user can mend.

    Args:
        error: Error of the operating system. If it names a file, the path is the user's, whichever library raised it.

    Returns:
        Path, reason and remedy; ``None`` for an error without a file or without a known remedy.
    """
    remedy = find_remedy(error)
    if remedy is None or error.filename is None:
        return None
    path = error.filename if isinstance(error.filename, str) else repr(error.filename)
    return f"{shorten_path(path)}: {error.strerror}; {remedy}"


def find_remedy(error: OSError) -> str | None:
    """Return what the user can do about an error of the operating system, ``None`` if that is not known."""
    return _REMEDIES.get(error.errno or 0)


def shorten_path(path: str) -> str:
    """Return a path as a message shows it: without its middle if it has more than 120 characters."""
    return path if len(path) <= 120 else f"{path[:60]}…{path[-50:]}"
