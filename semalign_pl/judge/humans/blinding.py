"""Order of pairs and sides on a page for readers: a function of pairs and seed, so that no file has to keep it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from semalign_pl.files.digest import digest
from semalign_pl.judge.pairs import Pair


@dataclass(frozen=True)
class ShownPair:
    """A pair as a page shows it.

    Attributes:
        pair: Pair of answers.
        first: Side that is shown first.
    """

    pair: Pair
    first: Literal["a", "b"]


def blind(pairs: Sequence[Pair], seed: int) -> list[ShownPair]:
    """Shuffle pairs and sides. Each side is first in half of the pairs; with an odd number, ``a`` is once more.

    Args:
        pairs: Pairs with different ids.
        seed: Seed of both orders. Readers with different seeds see different orders.

    Returns:
        The pairs in the order of the page.
    """
    by_side = sorted(pairs, key=lambda pair: digest("side", seed, pair.id))
    a_first = {pair.id for pair in by_side[: (len(pairs) + 1) // 2]}
    order = sorted(pairs, key=lambda pair: digest("order", seed, pair.id))
    return [ShownPair(pair, "a" if pair.id in a_first else "b") for pair in order]


def pairs_digest(pairs: Sequence[Pair]) -> str:
    """Digest of a set of pairs, in any order."""
    return digest(sorted([pair.id, pair.source, pair.reference or "", pair.a, pair.b] for pair in pairs), digits=16)


def page_digest(pairs: str, seed: int, rubric: str) -> str:
    """Digest of a page: key of the progress that the browser keeps.

    Args:
        pairs: Digest of the pairs.
        seed: Seed of the page.
        rubric: Name of the rubric.
    """
    return digest(pairs, seed, rubric, digits=16)
