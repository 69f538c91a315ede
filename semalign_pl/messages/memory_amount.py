"""Amounts of memory, as users write them and as they are printed."""

from __future__ import annotations

import re

UNITS = {"K": 2**10, "M": 2**20, "G": 2**30}


def memory_bytes(text: str) -> int:
    """Number of bytes of ``12GiB``, ``12GB``, ``12g`` or ``800MiB``; G is 2^30 in all of them.

    Args:
        text: Value of ``--memory``.

    Raises:
        ValueError: If ``text`` is not an amount of memory, or has no unit.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?:([KMG])(?:i?B)?)?\s*", text, re.IGNORECASE)
    if match is None or not 0 < float(match[1]) < 2**40:
        raise ValueError(f"--memory: {text!r} is no amount of memory; write e.g. 12GiB")
    if match[2] is None:
        raise ValueError(f"--memory: {text!r} has no unit; write {match[1]}GiB, or another of KiB, MiB and GiB")
    return round(float(match[1]) * UNITS[match[2].upper()])


def gib(size: int) -> str:
    """Amount in GiB, for a message.

    Args:
        size: Number of bytes.
    """
    return f"{size / 2**30:.1f} GiB"
