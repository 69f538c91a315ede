"""Word alignment: the probabilities are those of IBM model 1 written out as its definition says."""

import random
from collections import defaultdict

import pytest

from semalign_pl.functional import word_alignment
from semalign_pl.functional.word_alignment import align_words


def plain_ibm_1(rows: list[tuple[list[int], list[int]]], iterations: int) -> dict[tuple[int, int], float]:
    """p(source | target) by EM over dicts; the empty target token is -1."""
    table: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    for _ in range(iterations):
        counts: dict[tuple[int, int], float] = defaultdict(float)
        totals: dict[int, float] = defaultdict(float)
        for source, target in rows:
            for s in source:
                links = [-1, *target]
                whole = sum(table[s, t] for t in links)
                for t in links:
                    counts[s, t] += table[s, t] / whole
                    totals[t] += table[s, t] / whole
        table = defaultdict(float, {(s, t): count / totals[t] for (s, t), count in counts.items()})
    return table


def test_probabilities_are_ibm_model_1s() -> None:
    """On rows with repeated and unrelated tokens, and rows without source or target, which say nothing."""
    draw = random.Random(0)
    rows = [
        (draw.choices(range(9), k=draw.randrange(6)), draw.choices(range(7), k=draw.randrange(5))) for _ in range(80)
    ]
    wanted = plain_ibm_1([row for row in rows if all(row)], 5)
    found = align_words([s for s, _ in rows], [t for _, t in rows], 5)
    assert found.keys() == {t for s, targets in rows if s for t in targets}
    for target, alignment in found.items():
        assert alignment.probabilities == sorted(alignment.probabilities, reverse=True)
        for source, probability in zip(alignment.sources, alignment.probabilities, strict=True):
            assert probability == pytest.approx(wanted[source, target], abs=1e-12)
    # Every source token is explained once, by the empty token or another.
    assert 0 < sum(a.count for a in found.values()) < sum(len(s) for s, t in rows if s and t)


def test_many_links_are_thinned_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(word_alignment, "MAX_LINKS", 10)
    rows = [[n] for n in range(20)]  # two links each, so every fourth row is kept
    assert list(align_words(rows, rows)) == list(range(0, 20, 4))
    assert align_words([], []) == {}
