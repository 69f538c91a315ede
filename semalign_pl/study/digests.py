"""Digests of files, big ones read once: they are kept by what the file system says of the file."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Any

from semalign_pl.files.atomic import write_text
from semalign_pl.messages.terminal import visible

REMEMBERED_BYTES = 2**20
"""Size from which a digest is kept. Smaller files are read each time, which takes about a millisecond."""
SETTLED_SECONDS = 2.0
"""Age of the last change from which a digest is kept: two changes within a clock tick have the same time."""
PATIENCE_SECONDS = 2.0
CHUNK_BYTES = 2**22


class Digests:
    """Digests of files, kept in a JSON file.

    A digest is believed while the file's size, inode, modification time and status-change time are the same. The last
    of them cannot be set by a program, so that a changed file with its old modification time is read again.

    Args:
        kept: JSON file to keep them in; what cannot be read of it is computed again.
    """

    def __init__(self, kept: Path) -> None:
        self.kept = kept
        self._known = _read(kept)

    def of(self, file: Path) -> str:
        """Digest of a file's content, hexadecimal.

        Of an adapter's ``training.json`` the time at which it was written does not count.

        Raises:
            ValueError: If the file cannot be read; names it and the remedy.
        """
        try:
            before = file.stat()
            if file.name == "training.json":
                return _digest(_without_time(file.read_bytes()))
            if before.st_size < REMEMBERED_BYTES:
                return _digest(file.read_bytes())
            key, stamp = str(file.resolve()), [before.st_size, before.st_ino, before.st_mtime_ns, before.st_ctime_ns]
            if key in self._known and self._known[key][:-1] == stamp:
                return self._known[key][-1]
            digest = _read_through(file, before.st_size)
        except OSError as error:
            raise ValueError(f"{file}: cannot be read ({error.strerror}); check its path and permissions") from error
        if time.time() - max(before.st_mtime, before.st_ctime) > SETTLED_SECONDS:
            self._known[key] = [*stamp, digest]
            write_text(self.kept, json.dumps(self._known))
        return digest


def _read(kept: Path) -> dict[str, list[Any]]:
    try:
        known = json.loads(kept.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    if not isinstance(known, dict):
        return {}
    return {key: one for key, one in known.items() if isinstance(one, list) and len(one) == 5 and _is_digest(one[-1])}


def _is_digest(value: Any) -> bool:
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
    """Digest of a large file; after two seconds a line says what is being read."""
    digest, started, told = hashlib.sha256(), time.monotonic(), False
    with file.open("rb") as content:
        while chunk := content.read(CHUNK_BYTES):
            digest.update(chunk)
            if not told and time.monotonic() - started > PATIENCE_SECONDS:
                told = True
                print(f"  reading {visible(file)} ({size / 2**30:.1f} GiB) to see whether it changed", file=sys.stderr)
    return digest.hexdigest()
