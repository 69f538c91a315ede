"""Splits: by seed, with no held-out row that a training row repeats; oracle: edit distance of all pairs of rows."""

import random

import pytest
from rapidfuzz.distance import Levenshtein

from semalign_pl.project.split import split_rows

LETTERS = (
    "的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出就分对成会可主发年动同工也能下过子说产种面而方后多定"
)


def random_text(source: random.Random, length: int) -> str:
    return "".join(source.choice(LETTERS) for _ in range(length))


@pytest.fixture
def rows() -> list[tuple[str, str]]:
    """120 unrelated rows, and 20 groups of three: a row, one with a letter changed, one with the same source."""
    source = random.Random(0)
    made = [(random_text(source, 40), random_text(source, 60)) for _ in range(140)]
    for one, two in made[:20]:
        made += [(one[:-1] + "啊", two[:-1] + "啊"), (one, random_text(source, 60))]
    return made


@pytest.mark.parametrize("seed", [0, 1])
def test_no_row_is_near_one_of_another_split(rows, seed) -> None:
    split = split_rows(rows, seed, dev=10, test=20)
    assert (len(split.dev), len(split.test)) == (10, 20)
    assert sorted([*split.train, *split.dev, *split.test]) == list(range(len(rows)))
    for held_out, others in ((split.test, [*split.train, *split.dev]), (split.dev, [*split.train, *split.test])):
        for row in held_out:
            for other in others:
                assert rows[row][0] != rows[other][0] and rows[row][1] != rows[other][1]
                whole = ("".join(rows[row]), "".join(rows[other]))
                assert Levenshtein.normalized_similarity(*whole) < 0.66


def test_the_seed_decides(rows) -> None:
    assert split_rows(rows, 0, 10, 20) == split_rows(rows, 0, 10, 20) != split_rows(rows, 1, 10, 20)


def test_repeated_rows_are_never_held_out() -> None:
    source = random.Random(1)
    texts = [(random_text(source, 40), random_text(source, 60)) for _ in range(10)]
    split = split_rows(texts * 2, 0, dev=2, test=4)
    assert split.dev == split.test == [] and split.train == list(range(20))
