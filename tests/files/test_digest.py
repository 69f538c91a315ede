"""Digest of values: the same in every process, and different for different lists of values."""

import hashlib
import itertools

import pytest

from semalign_pl.files.digest import digest


def test_it_is_sha256_of_each_value_as_json_after_its_length() -> None:
    by_hand = hashlib.sha256(b'4:"ab"' + b'16:{"x": 1, "y": 2}' + b"4:null").hexdigest()
    assert digest("ab", {"y": 2, "x": 1}, None, digits=64) == by_hand
    assert digest("ab", {"x": 1, "y": 2}, None) == by_hand[:24]


def test_different_lists_of_values_differ() -> None:
    lists = [("ab", "c"), ("a", "bc"), ("abc",), (["ab", "c"],), ("", "abc"), ("1",), (1,), (True,), (None,), (), ([],)]
    for one, other in itertools.combinations(lists, 2):
        assert digest(*one) != digest(*other), (one, other)


def test_half_a_surrogate_pair_has_a_digest() -> None:
    assert digest("\ud800") != digest("\ud801")


def test_an_object_whose_text_may_change_is_refused() -> None:
    with pytest.raises(TypeError):
        digest(object())
