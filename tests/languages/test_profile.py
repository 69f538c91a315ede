"""Which text is wholly in a language, by Unicode rules."""

import copy
import pickle

import pytest

from semalign_pl.languages import LanguageProfile, get_language

TIBETAN_TEXT = "བོད་ཡིག"
HIDDEN = [
    ("\u200b", "zero-width space"),
    ("\ufeff", "byte order mark"),
    ("\u200e", "direction mark"),
    ("\x00", "NUL"),
    ("\x1b", "escape"),
    ("\x85", "C1 control"),
    ("\ue000", "private use"),
    ("\U0001f600", "emoji"),
    ("\ufffd", "replacement character"),
    ("\u0301", "a mark of other scripts"),
    ("\U0001d400", "a mathematical letter of no script"),
    ("\u2163", "a Latin numeral"),
    ("\u0967", "a Devanagari digit"),
    ("\u0964", "a Devanagari full stop"),
    ("\u060c", "an Arabic comma"),
]


@pytest.mark.parametrize(
    "text",
    [
        TIBETAN_TEXT,
        "བོད་ཡིག།",
        "དང༌། ཐོབ",  # non-breaking tsheg
        "༄༅། །བོད་༎",  # head marks
        "ལོ་༢༠༢༤ལོའི་ཟླ་5པའི་ཚེས་4",  # both kinds of digits
        "《བོད་ཡིག》“བོད་”(བོད)—བོད!?%;:,.…",
        "༼བོད༽",
        "-25°, 30℃, 1+1=2, $5 ¥3",
        "བོད\nབོད\tབོད\r\nབོད\u00a0བོད",
        "ཀྵ ཧཱུྃ ཨོཾ རྣཿ",  # Sanskrit letters and marks
    ],
)
def test_tibetan_is_tibetan(text: str) -> None:
    assert get_language("bo").is_consistent(text + TIBETAN_TEXT)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  \n",
        "།",
        "༢༠༢༤",
        "123",
        "《》",
        "中文",
        "English",
        "བོད་ཡིག中",
        "བོད་ཡིགa",
        "བོདa",
        "བོད་ཡིག。",
        "བོད་、ཡིག",
        "бབོད",
        "बབོད",
    ],
)
def test_other_text_is_not_tibetan(text: str) -> None:
    assert not get_language("bo").is_consistent(text)


@pytest.mark.parametrize(("char", "what"), HIDDEN, ids=[what for _, what in HIDDEN])
@pytest.mark.parametrize("code", ["bo", "zh"])
def test_one_stray_character_is_enough(code: str, char: str, what: str) -> None:
    letters = {"bo": TIBETAN_TEXT, "zh": "中文"}[code]
    language = get_language(code)
    assert language.is_consistent(letters)
    for text in (char + letters, letters + char, letters + char + letters):
        assert not language.is_consistent(text)


@pytest.mark.parametrize(
    ("code", "text", "consistent"),
    [
        ("zh", "第一条：人人生而自由，在尊严和权利上一律平等。", True),
        ("zh", "《三國志》、「孫權」一九二〇·3.5%", True),
        ("zh", "DNA检测", False),
        ("zh", "中国བོད", False),
        ("zh", "カタカナ中", False),
        ("en", "Don’t stop: it’s 5 o'clock!", True),
        ("en", "café cafe\u0301", True),
        ("en", "hello 世界", False),
        ("en", "hеllo", False),  # the second letter is Cyrillic
    ],
)
def test_other_languages(code: str, text: str, consistent: bool) -> None:
    assert get_language(code).is_consistent(text) is consistent


def test_several_scripts() -> None:
    japanese = LanguageProfile("ja", "Japanese", "日本語", ("Han", "Hiragana", "Katakana"), "character", list)
    assert japanese.is_consistent("日本語のテキスト。")
    assert not japanese.is_consistent("日本語 text")
    assert get_language(japanese) is japanese


def test_a_long_text_takes_no_time() -> None:
    assert not get_language("bo").is_consistent("བོད་" * 100_000 + "a")


def test_unknown_language_names_the_known() -> None:
    with pytest.raises(ValueError, match=r"'xx' is not known; use one of \['bo', 'en', 'zh'\]"):
        get_language("xx")


def test_profiles_can_be_copied_after_use() -> None:
    language = get_language("bo")
    assert language.is_consistent(TIBETAN_TEXT)
    assert copy.deepcopy(language) == language == pickle.loads(pickle.dumps(language))
