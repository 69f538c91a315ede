"""Split rows into training, dev and test rows, so that no training row repeats a held-out one."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

from semalign_pl.data.cleaning.exact_leaks import Texts
from semalign_pl.data.cleaning.leakage import LeakIndex
from semalign_pl.data.cleaning.row_filter import HEAD

_CHUNK = 5000


class Split(NamedTuple):
    """Indices of the rows of each split, ascending.

    Attributes:
        train: Training rows.
        dev: Dev rows.
        test: Test rows.
    """

    train: list[int]
    dev: list[int]
    test: list[int]


def split_rows(rows: Sequence[Texts], seed: int, dev: int, test: int) -> Split:
    """Draw dev and test rows among the rows that no other row repeats; all others are training rows.

    Rows that repeat each other, exactly or nearly, are kept together this way: all of them are training rows.

    Args:
        rows: Texts of each row, in normal form.
        seed: Seed of the draw.
        dev: Number of dev rows.
        test: Number of test rows. Fewer are drawn if fewer rows are without a near-duplicate.
    """
    everything = list(range(len(rows)))
    chosen_test = draw_unrepeated(rows, everything, test, f"{seed}/test")
    rest = _without(everything, chosen_test)
    chosen_dev = draw_unrepeated(rows, rest, dev, f"{seed}/dev")
    return Split(_without(rest, chosen_dev), chosen_dev, chosen_test)


def draw_unrepeated(rows: Sequence[Texts], among: Sequence[int], count: int, seed: str) -> list[int]:
    """Draw rows that no other row repeats, by the rule of the leak search of preparation (`LeakIndex`).

    Args:
        rows: Texts of each row, in normal form.
        among: Indices of the rows to draw from and to compare with.
        count: Maximum number of rows.
        seed: Seed of the draw.

    Returns:
        Indices of the drawn rows, ascending.
    """
    waiting = random.Random(seed).sample(among, len(among))
    drawn, refused = list[int](), list[int]()
    while waiting and len(drawn) < count:
        batch, waiting = waiting[: count - len(drawn)], waiting[count - len(drawn) :]
        background = [rows[i] for i in [*waiting, *refused][:HEAD]]
        repeated = _find_repeated(rows, batch, [*waiting, *refused], background)
        drawn += [row for row in batch if row not in repeated]
        # A refused row is a training row now, and may repeat one that is drawn: rows of a batch are not compared.
        while repeated:
            refused += repeated
            repeated = _find_repeated(rows, drawn, [*repeated], background)
            drawn = [row for row in drawn if row not in repeated]
    return sorted(drawn)


def _find_repeated(
    rows: Sequence[Texts], held_out: Sequence[int], others: Sequence[int], background: Sequence[Texts]
) -> set[int]:
    """Held-out rows that one of the others repeats.

    Args:
        rows: Texts of each row.
        held_out: Indices of the held-out rows.
        others: Indices of the other rows.
        background: Texts of other rows, from which common phrases are known.
    """
    found = set[int]()
    while held_out and others:
        index, leaking = LeakIndex(((str(i), rows[i]) for i in held_out), background), list[int]()
        for start in range(0, len(others), _CHUNK):
            chunk = others[start : start + _CHUNK]
            for row, leak in zip(chunk, index.find([rows[i] for i in chunk]), strict=True):
                if leak is not None:
                    found.add(held_out[leak.row])
                    leaking.append(row)
        # Of each row only the best leak is found. Without those, the same rows may repeat further held-out rows.
        held_out, others = [row for row in held_out if row not in found], leaking
    return found


def _without(rows: Sequence[int], taken: Sequence[int]) -> list[int]:
    gone = set(taken)
    return [row for row in rows if row not in gone]
