"""The language reward: 1 where a completion is wholly Tibetan, else 0."""

import pytest

from semalign_pl.rewards import LanguageReward
from semalign_pl.types import Example

TABLE = [
    ("དགེ་རྒན་དཔེ་ཆ་བལྟས།", 1.0),
    ("ལོ་ 2024 ལ།", 1.0),
    ("དགེ་རྒན་老师", 0.0),
    ("teacher", 0.0),
    ("དགེ་རྒན a", 0.0),
    ("དགེ\ufffd", 0.0),
    ("", 0.0),
    ("། །", 0.0),
]


def score(texts: list[str], **options) -> list[float]:
    return LanguageReward(**options)([Example("0", "?", "རི")] * len(texts), texts).tolist()


@pytest.mark.parametrize(("text", "expected"), TABLE)
def test_table(text: str, expected: float) -> None:
    assert score([text]) == [expected]


def test_order_is_kept() -> None:
    assert score([text for text, _ in TABLE]) == [expected for _, expected in TABLE]


def test_another_language() -> None:
    assert score(["老师", "དགེ་རྒན་"], language="zh") == [1.0, 0.0]


def test_name_and_signature() -> None:
    reward = LanguageReward("zh", weight=0.5)
    assert reward.name == "language" and reward.signature == "reward:language|weight:0.5|language:zh"


LAX = [  # predominantly Tibetan, no Chinese, little Latin
    ("དགེ་རྒན་དཔེ་ཆ་བལྟས།", 1.0),
    ("དགེ་རྒན་དཔེ་ཆ་བལྟས་ IT", 1.0),  # 2 of its 12 letters are Latin; marks count as none
    ("དགེ་རྒན་ IBM", 0.0),  # 3 of 7
    ("དགེ་རྒན་དཔེ་ཆ་བལྟས་老", 0.0),
    ("དགེ་рг", 0.0),
    ("teacher", 0.0),
    ("", 0.0),
    ("། །", 0.0),
]


@pytest.mark.parametrize(("text", "expected"), LAX)
def test_sg_srls_rule(text: str, expected: float) -> None:
    assert score([text], source="zh") == [expected]


def test_as_a_gate() -> None:
    reward = LanguageReward("bo", gate=True, source="zh")
    assert reward.gate and not LanguageReward().gate
    assert reward.signature == "reward:language|gate|language:bo|source:zh|min:0.7|latin:0.2"
    with pytest.raises(ValueError, match="LanguageReward.max_latin: 20 is no share"):
        LanguageReward(source="zh", max_latin=20)
