"""Holm's correction and McNemar's exact test, by hand."""

import pytest

from semalign_pl.functional.significance import holm, mcnemar


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.02, 0.04]) == pytest.approx([0.03, 0.04, 0.04])
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    assert holm([]) == []


def test_mcnemar_is_the_exact_binomial_test() -> None:
    assert mcnemar(0, 0) == 1
    assert mcnemar(3, 3) == 1
    assert mcnemar(1, 9) == pytest.approx(22 / 2**10)  # twice (1 + 10) / 2^10
