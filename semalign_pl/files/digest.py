"""Digest of values, for the names of cache entries and the comparison of settings."""

from __future__ import annotations

import hashlib
import json


def digest(*values: object, digits: int = 24) -> str:
    """Hexadecimal digest of values, the same in every process.

    Each value is written as JSON with sorted keys, after its length, so that different lists of values differ:
    ``("ab", "c")`` and ``("a", "bc")`` have different digests.

    Args:
        values: Values of types that JSON has; tuples equal lists.
        digits: Number of hexadecimal digits, at most 64. Each has 4 bits; 24 are enough for keys of a cache.

    Raises:
        TypeError: If a value has a type that JSON lacks: its text might differ between processes.
    """
    whole = hashlib.sha256()
    for value in values:
        text = json.dumps(value, sort_keys=True).encode()
        whole.update(b"%d:%s" % (len(text), text))
    return whole.hexdigest()[:digits]
