"""Language reward: 1 if a completion is wholly Tibetan, else 0."""

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
    assert reward.name == "language" and reward.signature == "reward:language|weight:0.5|language:zh|rule:2"


LAX = [  # mainly Tibetan, without Chinese, little Latin
    ("དགེ་རྒན་དཔེ་ཆ་བལྟས།", 1.0),
    ("དགེ་རྒན་དཔེ་ཆ་བལྟས་ IT", 1.0),  # 1 of its 6 words is Latin
    ("དགེ་རྒན་ IBM", 0.0),  # 1 of 3
    ("དགེ་རྒན་དཔེ་ཆ་བལྟས་老", 0.0),
    ("དགེ་рг", 0.0),
    ("teacher", 0.0),
    ("", 0.0),
    ("། །", 0.0),
    ("དགེ་རྒན་དཔེ་ཆ་བལྟས་ Ellsworth", 1.0),  # one name is one word, of any length
    ("དགེ་རྒན\ufffd", 0.0),
    ("དགེ་རྒན\U0001f600", 0.0),
    ("དགེ་རྒན\U0001f1e8\U0001f1f3", 0.0),
    ("དགེ་རྒན\ue000", 0.0),
    ("དགེ་རྒན ©", 1.0),
    ("ང" + "1" * 300, 0.0),
    ("ང་་་་་་་", 0.0),
    ("ིདགེ་རྒན", 0.0),
]


@pytest.mark.parametrize(("text", "expected"), LAX)
def test_sg_srls_rule(text: str, expected: float) -> None:
    assert score([text], source="zh") == [expected]


def test_as_a_gate() -> None:
    reward = LanguageReward("bo", gate=True, source="zh")
    assert reward.gate and not LanguageReward().gate
    assert reward.signature == "reward:language|gate|language:bo|rule:2|source:zh|min:0.7|latin:0.2"
    with pytest.raises(ValueError, match="LanguageReward.max_latin: 20 is no share"):
        LanguageReward(source="zh", max_latin=20)


SOURCE = "IBM公司在《红楼梦》里用了 Ellsworth 和 COVID-19 ©。"
ROW = Example("0", "翻译：" + SOURCE, "ཨའེ་བི་ཨེམ་ IBM", {"zh": SOURCE, "note": "DNA"}, SOURCE)
ALLOWED = [
    ("བོད་ཡིག་ IBM", ["source"], 1.0),
    ("བོད་ཡིག་ ibm", ["source"], 1.0),  # without regard to case
    ("བོད་ཡིག་ IBM", ["reference"], 1.0),
    ("བོད་ཡིག་ Ellsworth", ["reference"], 0.0),  # only the source has this word
    ("བོད་ཡིག་ Ellsworth", ["reference", "source"], 1.0),
    ("བོད་ཡིག་ Ellsworth", ["zh"], 1.0),  # words of any column
    ("བོད་ཡིག་ DNA", ["note"], 1.0),
    ("བོད་ཡིག་ Ells", ["source"], 0.0),  # a part of a word
    ("བོད་ཡིག་ IBMs", ["source"], 0.0),
    ("བོད་ཡིག་ 公司", ["source"], 0.0),  # a part of a run of Han characters
    ("བོད་ཡིག་《红楼梦》 བོད་", ["source"], 1.0),
    ("བོད་ཡིག་ COVID-19 ©", ["source"], 1.0),
    ("བོད་ཡིག་ ®", ["source"], 0.0),
    ("IBM", ["source"], 0.0),  # no letter of the language
    ("IBM Ellsworth བོད", ["source"], 0.0),  # at least half of the words must be in the language
    (SOURCE, ["source"], 0.0),
    ("བོད་ཡིག" + SOURCE, ["source"], 0.0),
    ("བོད་ཡིག་", ["source"], 1.0),
    ("བོད་ཡིག་ Ellsworth", None, 0.0),
]


@pytest.mark.parametrize(("text", "allow", "expected"), ALLOWED)
def test_words_of_the_row_may_be_allowed(text: str, allow: list[str] | None, expected: float) -> None:
    assert LanguageReward(allow=allow)([ROW], [text]).tolist() == [expected]


def test_what_is_broken_is_never_allowed() -> None:
    row = Example("0", "?", "བོད\ufffd\ue000\x00", {}, "\ufffd")
    reward = LanguageReward(allow=["source", "reference"])
    assert reward([row] * 3, ["བོད\ufffd", "བོད\ue000", "བོད\x00"]).tolist() == [0.0, 0.0, 0.0]


def test_a_mark_after_an_allowed_word_has_no_letter() -> None:
    """``བོདBeijingི`` without the word must not become ``བོདི``."""
    row = Example("0", "?", "བོད", {}, "Beijing")
    assert LanguageReward(allow=["source"])([row] * 2, ["བོདBeijingི", "བོད Beijing"]).tolist() == [0.0, 1.0]


def test_allow_is_in_the_signature_and_checked() -> None:
    assert LanguageReward(allow=["source", "zh"]).signature.endswith("|rule:2|allow:source+zh")
    with pytest.raises(
        ValueError, match="allow: no column of the corpus is called 'en'; take source or one of reference"
    ):
        LanguageReward(allow=["en"])([ROW], ["བོད"])


@pytest.mark.parametrize(("failing", "warns"), [(0, False), (5, False), (6, True), (50, True)])
def test_references_that_fail_are_warned_of(failing: int, warns: bool) -> None:
    examples = [Example(str(i), "?", "བོད་ Ellsworth" if i < failing else "བོད་ཡིག", {}, "Ellsworth") for i in range(100)]
    warning = LanguageReward().check_references(examples)
    assert (warning is not None) == warns
    if warning:
        assert f"{failing} % of 100".replace(" %", "%") in warning and "\n" not in warning
        assert "characters: l E s w o r t h" in warning and "`allow: [source, reference]`" in warning
    assert LanguageReward(allow=["source"]).check_references(examples) is None


def test_source_only_text_has_no_references_to_warn_of() -> None:
    assert LanguageReward().check_references([Example("0", "?", "", {}, "中")] * 3) is None
    assert LanguageReward().check_references([]) is None
