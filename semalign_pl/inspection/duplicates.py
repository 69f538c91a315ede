"""Equal texts found by 64-bit fingerprints, so that a corpus of millions of rows takes eight bytes a text."""

from __future__ import annotations

import unicodedata
from array import array
from collections.abc import Iterable

import numpy as np
import regex
from numpy.typing import NDArray

from semalign_pl.data.hashes import hash64

Fingerprints = NDArray[np.uint64]
_TSHEG = regex.compile(r"[\u0F0B\u0F0C]+")
_SPACE = regex.compile(r"\s+")


def key(text: str) -> str:
    r"""What two texts that read the same have in common.

    Unicode NFC, runs of white space as one space and none at the ends, runs of tsheg of either kind as one U+0F0B.

    Examples:
        >>> key(" a \n b ") == key("a b")
        True
    """
    text = unicodedata.normalize("NFC", text)
    return _SPACE.sub(" ", _TSHEG.sub("\u0f0b", text)).strip()


def fingerprint(*keys: str) -> int:
    """64 bits of a text's key, or of the keys of a row's texts."""
    return hash64("\0".join(keys))


def as_array(fingerprints: array[int]) -> Fingerprints:
    """The same memory as numbers."""
    return np.frombuffer(fingerprints, dtype=np.uint64) if fingerprints else np.empty(0, np.uint64)


def repeats(prints: Fingerprints) -> int:
    """How many texts repeat an earlier one."""
    return len(prints) - len(np.unique(prints))


def largest_groups(prints: Fingerprints, count: int, of_each: int) -> list[tuple[int, list[int]]]:
    """Groups of equal texts: how often each occurs and where, the most frequent first.

    Args:
        prints: One a text.
        count: Groups at most.
        of_each: Places at most of each group, the first ones.
    """
    order = np.argsort(prints, kind="stable")
    ordered = prints[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    sizes = np.diff(starts, append=len(ordered))
    starts, sizes = starts[sizes > 1], sizes[sizes > 1]
    frequent = np.lexsort((order[starts], -sizes))[:count]
    return [(int(sizes[i]), order[starts[i] : starts[i] + min(sizes[i], of_each)].tolist()) for i in frequent]


def shared(these: Fingerprints, those: Fingerprints) -> NDArray[np.intp]:
    """Places in ``these`` of the texts that ``those`` have too."""
    return np.flatnonzero(np.isin(these, those))


def first_places(prints: Fingerprints, wanted: Iterable[int]) -> list[int]:
    """Where each wanted fingerprint stands first."""
    return [int(np.argmax(prints == np.uint64(value))) for value in wanted]
