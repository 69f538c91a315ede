"""SG-SRL's penalties, against tables computed by hand."""

import pytest
import torch

from semalign_pl.functional.penalties import length_penalty, repeated_ngrams, repetition_penalty


def test_length() -> None:
    lengths = torch.tensor([100.0, 100.0, 100.0, 250.0, 375.0, 500.0, 900.0])
    medians = lengths / 250
    assert length_penalty(lengths).tolist() == pytest.approx([0.0] * 6 + [(medians[6].item() - 2.5) / 2.5])
    lengths = torch.tensor([100, 100, 100, 100, 100, 250, 375, 500, 900])  # median 100
    assert length_penalty(lengths).tolist() == pytest.approx([0, 0, 0, 0, 0, 0, 0.5, 1, 1])
    assert length_penalty(torch.tensor([4, 4, 4, 12]), 2, 4).tolist() == pytest.approx([0, 0, 0, 0.5])


def test_lengths_that_have_no_scale() -> None:
    assert length_penalty(torch.tensor([])).tolist() == []
    assert length_penalty(torch.tensor([0, 0, 0])).tolist() == [0.0] * 3
    assert length_penalty(torch.tensor([0, 0, 5])).tolist() == [0.0, 0.0, 1.0]  # a median of 0 counts as 1
    for start, end in ((0, 1), (5, 5), (5, 2)):
        with pytest.raises(ValueError, match="do not make a slope"):
            length_penalty(torch.ones(1), start, end)


@pytest.mark.parametrize(
    ("text", "n", "expected"),
    [("abcdef", 4, 0), ("abcd", 4, 0), ("abc", 4, 0), ("", 1, 0), ("aaaaa", 4, 1 / 2), ("aaaa", 1, 3 / 4)]
    + [("abcabcabc", 3, 4 / 7)],  # abc bca cab abc bca cab abc
)
def test_repeated_ngrams(text: str, n: int, expected: float) -> None:
    assert repeated_ngrams(text, n) == pytest.approx(expected)


def test_repetition() -> None:
    assert repetition_penalty(torch.tensor([0.0, 0.15, 0.16, 1.0])).tolist() == pytest.approx([0, 0, 0.16, 1])
