"""Zawgyi, Burmese code points that are not Unicode: it is found, left unchanged, and never found in Unicode text."""

from __future__ import annotations

import itertools
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semalign_pl.languages import get_language
from semalign_pl.rewards import LanguageReward

PANGRAM = "သီဟိုဠ်မှ ဉာဏ်ကြီးရှင်သည် အာယုဝဍ်ဎနဆေးညွှန်းစာကို ဇလွန်ဈေးဘေးဗာဒံပင်ထက် အဓိဋ္ဌာန်လျက် ဂဃနဏဖတ်ခဲ့သည်။"
ZAWGYI = "သီဟိုဠ္မွ ဉာဏ္ႀကီးရွင္သည္ အာယုဝဍ္ဎနေဆးၫႊန္းစာကို ဇလြန္ေဈးေဘးဗာဒံပင္ထက္ အဓိ႒ာန္လ်က္ ဂဃနဏဖတ္ခဲ့သည္။"
MEDIALS = {"\u103b": "\u103a", "\u103d": "\u103c", "\u103e": "\u103d"}
"""Code points of Unicode to those of Zawgyi, except for ra, which Zawgyi writes before the letter, with 103B."""


def syllable(letter: str, ra: bool, medials: str, e: bool, vowels: str, final: str, tone: str) -> tuple[str, str]:
    """One syllable in the order of UTN 11, and in the visual order of Zawgyi's code chart."""
    ya, wa_ha = [medial for medial in medials if medial == "\u103b"], [m for m in medials if m != "\u103b"]
    unicode = letter + "".join(ya) + "\u103c" * ra + "".join(wa_ha) + "\u1031" * e + vowels
    zawgyi = "\u1031" * e + "\u103b" * ra + letter + "".join(MEDIALS[medial] for medial in medials) + vowels
    return unicode + final + "\u103a" * bool(final) + tone, zawgyi + final + "\u1039" * bool(final) + tone


SYLLABLES = st.builds(
    syllable,
    st.sampled_from("ကခဂငစဆဇညတထဒနပဖဗဘမယရလဝသဟအ"),
    st.booleans(),
    st.sampled_from(["", "", "\u103b", "\u103d", "\u103e", "\u103d\u103e"]),
    st.booleans(),
    st.sampled_from(["", "\u102d", "\u102e", "\u1032", "\u102f", "\u1030", "\u102c", "\u102d\u102f", "\u1036"]),
    st.sampled_from(["", *"ကငစညတနပမ"]),
    st.sampled_from(["", "\u1038"]),
)


def test_unicode_text_is_never_taken_for_zawgyi() -> None:
    burmese = get_language("my")
    assert burmese.legacy is not None and not burmese.legacy.is_used(PANGRAM)
    assert burmese.normalise(PANGRAM) == PANGRAM and burmese.is_consistent(PANGRAM)

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(st.lists(st.lists(SYLLABLES, min_size=1, max_size=4), min_size=1, max_size=6))
    def check(words: list[list[tuple[str, str]]]) -> None:
        text = " ".join("".join(unicode for unicode, _ in word) for word in words)
        assert burmese.legacy is not None and not burmese.legacy.is_used(text), ascii(text)

    check()


def test_zawgyi_is_found_and_left_alone() -> None:
    burmese = get_language("my")
    assert burmese.normalise(ZAWGYI) == ZAWGYI and burmese.normalise(f" {ZAWGYI}  x") == f" {ZAWGYI}  x"
    ends = [syllable(*parts) for parts in itertools.product("ကနမ", [False], [""], [False], ["", "\u102d"], "ကငန", [""])]

    @settings(max_examples=500, deadline=None, derandomize=True)
    @given(st.lists(SYLLABLES, max_size=8), st.sampled_from(ends))
    def check(some: list[tuple[str, str]], end: tuple[str, str]) -> None:
        text = "".join(zawgyi for _, zawgyi in [*some, end])
        assert burmese.legacy is not None and burmese.legacy.is_used(text), ascii(text)
        assert burmese.normalise(text) == text

    check()


@pytest.mark.parametrize("text", ["", "က", "abc", "ကခဂ", "၁၂၃။", "မဒီတာ", "ေ"])
def test_what_is_the_same_in_both_or_one_slip_is_normalised_as_ever(text: str) -> None:
    burmese = get_language("my")
    assert burmese.normalise(text) == text
    mistyped = PANGRAM + " ေက \u1040\u102c"  # a vowel before its letter, in Unicode text
    assert burmese.normalise(mistyped) == PANGRAM + " ေက \u101d\u102c"


@pytest.mark.parametrize("text", ["ၵႂၢမ်းတႆး", "လိၵ်ႈတႆး", "ဘာသာမန်", "ကၠုင်"])  # Shan and Mon
def test_other_languages_of_the_script_are_not_zawgyi(text: str) -> None:
    legacy = get_language("my").legacy
    assert legacy is not None and not legacy.is_used(text)


@pytest.mark.skipif(shutil.which("uconv") is None, reason="ICU's uconv is not installed")
def test_the_converter_that_is_named_converts_it() -> None:
    remedy = get_language("my").legacy.remedy  # type: ignore[union-attr]
    assert "Zawgyi, not Unicode; convert it first, with ICU's transliterator Zawgyi-my (`uconv -x Zawgyi-my" in remedy
    parts = itertools.product("ကမသ", [False, True], ["", "\u103b"], [False, True], [""], ["", "င"], [""])
    pairs = [("".join(unicode), "".join(zawgyi)) for unicode, zawgyi in (syllable(*p) for p in parts)]
    lines = "\n".join([ZAWGYI, *(zawgyi for _, zawgyi in pairs)])
    converted = subprocess.run(["uconv", "-x", "Zawgyi-my"], input=lines, capture_output=True, text=True, check=True)
    assert converted.stdout.splitlines() == [PANGRAM, *(unicode for unicode, _ in pairs)]


OWN = """
code: xx
like: my
legacy: {name: Other, signs: '%s', unicode: '[\\u103E]', converter: a program}
"""


def test_a_language_of_ones_own_names_its_legacy_encoding(tmp_path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(OWN % "\\u1000\\u1000", encoding="utf-8")
    own = get_language(str(path))
    assert own.legacy is not None and own.legacy.is_used("ကက") and not own.legacy.is_used("ကက\u103e")
    assert own.legacy.remedy == "Other, not Unicode; convert it first, with a program"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (OWN % "(", r"own.yaml: legacy: signs: '\(' is no pattern"),
        (
            "code: x\nlike: my\nlegacy: Zawgyi",
            "legacy: 'Zawgyi' is not a mapping of name, signs, unicode, converter to t",
        ),
        (
            "code: x\nlike: my\nlegacy: {name: a, signs: b}",
            "legacy: .* is not a mapping of name, signs, unicode, conver",
        ),
        ("code: x\nlike: my\nlegacy: {name: 1, signs: b, unicode: c, converter: d}", "is not a mapping of name, signs"),
    ],
)
def test_mistakes(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "own.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        get_language(str(path))


@pytest.mark.parametrize("options", [{}, {"source": "en"}, {"allow": ["reference"]}])
def test_zawgyi_earns_no_language_reward(options: dict) -> None:
    reward = LanguageReward("my", **options)
    assert reward.score(completions=[PANGRAM, ZAWGYI], references=[PANGRAM, ZAWGYI]) == [1.0, 0.0]
