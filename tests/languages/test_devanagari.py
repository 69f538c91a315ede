"""Nepali and Sanskrit: alphabets, aksharas against UAX 29, and normal form."""

from __future__ import annotations

import unicodedata

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from semalign_pl.languages import get_language


@pytest.mark.parametrize(
    ("code", "text", "consistent"),
    [
        ("ne", "सबै व्यक्तिहरू जन्मजात स्वतन्त्र हुन्; २०४८ साल, 12।", True),
        ("ne", "गर्‍यो, बाँच्‌न, क़लम", True),
        ("ne", "पितॄन्", False),  # vocalic rr occurs only in Sanskrit
        ("ne", "Nepal नेपाल", False),
        ("ne", "নেপাল", False),  # Bengali
        ("sa", "धर्मक्षेत्रे कुरुक्षेत्रे समवेता युयुत्सवः । पितॄन् ॥", True),
        ("sa", "अ॒ग्निमी॑ळे पु॒रोहि॑तं सो॒ऽहम् ॐ", True),  # Vedic accents, avagraha, om
        ("sa", "ऑफिस", False),  # candra o occurs only in loanwords
    ],
)
def test_alphabets(code: str, text: str, consistent: bool) -> None:
    assert get_language(code).is_consistent(text) is consistent


@pytest.mark.parametrize("code", ["ne", "sa"])
@pytest.mark.parametrize(
    ("text", "units"),
    [
        ("क्षत्रिय नेपाली।", ["क्ष", "त्रि", "य", "ने", "पा", "ली", "।"]),
        ("गर्‍यो २०४८", ["ग", "र्‍यो", "२०४८"]),
        ("श्रीमान्‌को", ["श्री", "मा", "न्‌", "को"]),  # the non-joiner ends a conjunct
        ("सोऽहम् ॥ DNA", ["सो", "ऽ", "ह", "म्", "॥", "DNA"]),
        ("अ॒ग्निमी॑ळे", ["अ॒", "ग्नि", "मी॑", "ळे"]),
    ],
)
def test_a_unit_is_an_akshara(code: str, text: str, units: list[str]) -> None:
    assert get_language(code).segment(text) == units


def test_aksharas_are_uax_29s_grapheme_clusters() -> None:
    """On text in the script's order; ``regex`` implements rule GB9c, by which a conjunct is one cluster."""
    nepali = get_language("ne")
    if regex.findall(r"\X", "क्ष") != ["क्ष"]:
        pytest.skip("this version of regex is older than rule GB9c")
    consonant = st.sampled_from(["क", "ष", "र", "य", "त", "म", "ज\u093c"])
    conjunct = st.lists(consonant, min_size=1, max_size=3).map("\u094d".join)
    signs = st.sampled_from(
        ["", "\u093e", "\u093f", "\u0941", "\u0947\u0902", "\u0901", "\u0903", "\u094d", "\u094d\u200c"]
    )
    vowel = st.sampled_from(["अ", "ई", "औ\u0902", "ऽ", "।"])

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.lists(st.one_of(st.tuples(conjunct, signs).map("".join), vowel), max_size=8))
    def check(parts: list[str]) -> None:
        text = unicodedata.normalize("NFC", "".join(parts))
        assert nepali.segment(text) == regex.findall(r"\X", text)

    check()


@pytest.mark.parametrize("code", ["ne", "sa"])
@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("\u0958\u095c", "क\u093cड\u093c"),  # excluded from composition
        ("गऱ्यो गऱ्‍यो", "गर्‍यो गर्‍यो"),  # the eyelash ra
        ("अ\u093eम अ\u094bठ आ\u0947ठ ए\u0947 उ\u0941", "आम ओठ ओठ ऐ ऊ"),
        ("राम।। राम॥", "राम॥ राम॥"),
        ("कं\u093e क\u093e\u0902\u0902", "क\u093e\u0902 क\u093e\u0902"),
        ("ने\u200cपा\u200dल\u200b", "नेपाल"),  # joiners without effect
        ("क्\u200dष क्\u200cष क्ष", "क्\u200dष क्\u200cष क्ष"),
        ("राम| अत: २0", "राम| अत: २0"),
        ("चाँद चांद चान्द ॐ ओम्", "चाँद चांद चान्द ॐ ओम्"),  # different words
        ("सो॒ऽहम् अ॒ग्निमी॑ळे", "सो॒ऽहम् अ॒ग्निमी॑ळे"),
    ],
)
def test_one_spelling(code: str, text: str, normal: str) -> None:
    got = get_language(code).normalise(text)
    assert got == normal, (ascii(got), ascii(normal))
