"""Digests of files. Those of large files are cached, by the metadata that the file system keeps of the file."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

from semalign_pl.files.atomic import write_text
from semalign_pl.messages.terminal import visible

REMEMBERED_BYTES = 2**20
"""Minimum size of a file whose digest is cached. Smaller files are read each time, in about a millisecond."""
SETTLED_SECONDS = 2.0
"""Minimum age of the last change to cache a digest: two changes within one clock tick have the same time."""
PATIENCE_SECONDS = 2.0
"""Time to read a file before a line tells the user about it."""
CHUNK_BYTES = 2**22


class Digests:
    """Digests of files, cached in a JSON file.

    A cached digest is valid while the file's size, inode, modification time and status-change time are the same.
    Programs cannot set the status-change time, so a changed file with its old modification time is read again.

    Args:
        cache: JSON file to cache digests in; digests that cannot be read from it are computed again.
    """

    def __init__(self, cache: Path) -> None:
        self.cache = cache
        self._digests = _read(cache)

    def of(self, file: Path) -> str:
        """SHA-256 digest of a file's content, hexadecimal.

        The digest of an adapter's ``training.json`` leaves out the time at which training finished.

        Args:
            file: File to read.

        Raises:
            ValueError: If the file cannot be read; the message names the file and the remedy.
        """
        try:
            before = file.stat()
            if file.name == "training.json":
                return _digest(_without_time(file.read_bytes()))
            if before.st_size < REMEMBERED_BYTES:
                return _digest(file.read_bytes())
            key, stamp = str(file.resolve()), [before.st_size, before.st_ino, before.st_mtime_ns, before.st_ctime_ns]
            if key in self._digests and self._digests[key][0] == stamp:
                return self._digests[key][1]
            digest = _read_through(file, before.st_size)
        except OSError as error:
            raise ValueError(f"{file}: cannot be read ({error.strerror}); check its path and permissions") from error
        if time.time() - max(before.st_mtime, before.st_ctime) > SETTLED_SECONDS:
            self._digests[key] = stamp, digest
            write_text(
                self.cache, json.dumps({key: [*stamp, digest] for key, (stamp, digest) in self._digests.items()})
            )
        return digest


def _read(cache: Path) -> dict[str, tuple[list[int], str]]:
    """Metadata and digest by file."""
    try:
        content = json.loads(cache.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(content, dict):
        return {}
    entries = {key: entry for key, entry in content.items() if isinstance(entry, list) and len(entry) == 5}
    return {key: (stamp, digest) for key, (*stamp, digest) in entries.items() if _is_digest(digest)}


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and len(value) == 2 * hashlib.sha256().digest_size


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _without_time(content: bytes) -> bytes:
    try:
        facts = json.loads(content)
        return json.dumps({key: value for key, value in facts.items() if key != "finished"}, sort_keys=True).encode()
    except (ValueError, AttributeError, RecursionError):
        return content


def _read_through(file: Path, size: int) -> str:
    """Digest of a large file; after two seconds, a line on stderr names the file."""
    digest, started, told = hashlib.sha256(), time.monotonic(), False
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
            if not told and time.monotonic() - started > PATIENCE_SECONDS:
                told = True
                print(f"  reading {visible(file)} ({size / 2**30:.1f} GiB) to see whether it changed", file=sys.stderr)
    return digest.hexdigest()
