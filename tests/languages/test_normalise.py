"""The normal form is unchanged by a second pass, in all languages; changes that it makes and does not make."""

import json
import unicodedata
from functools import cache
from itertools import islice, permutations, product

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st

from semalign_pl.languages import get_language
from semalign_pl.languages.read import language_codes

ODD = "\u00a0\u3000\t\n\r\x0b\x85\u2028\x00\x1c\u00ad\ufeff\u200b\u200c\u200d\u200e\u061c\u202f\u2060\u180e\u0301a1é。"

EVERYTHING = "".join(chr(i) for i in range(0x20, 0x30000) if not 0xD800 <= i < 0xE000)


def _named(code: str) -> list[str]:
    """Characters that the language's rules name."""
    rules = repr((get_language(code).replacements, get_language(code).order))
    return sorted({chr(int(digits, 16)) for digits in regex.findall(r"u([0-9A-F]{4})", rules)})


@cache
def _texts(code: str) -> st.SearchStrategy[str]:
    """Texts of characters that the language's rules name, its script, white space, invisible and other characters."""
    language = get_language(code)
    scripts = "".join(rf"\p{{Script={script}}}" for script in language.scripts)
    own = regex.findall(rf"[{scripts}]", EVERYTHING, flags=regex.V1)
    named = _named(code) or own
    any_other = st.characters(exclude_categories=["Cs"])
    one = st.one_of(*map(st.sampled_from, (named, named, named[:1] + own, ODD)), any_other)
    return st.text(one, max_size=40)


@pytest.mark.parametrize("code", language_codes())
def test_what_it_returns_it_leaves_alone(code: str) -> None:
    language = get_language(code)

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(_texts(code))
    def check(text: str) -> None:
        normal = language.normalise(text)
        assert language.normalise(normal) == normal
        if language.legacy and language.legacy.is_used(text):
            assert normal == text
            return
        assert unicodedata.normalize("NFC", normal) == normal
        assert normal == normal.strip(" \n") and "  " not in normal and "\r" not in normal and "\x00" not in normal
        if language.is_consistent(text):
            assert language.is_consistent(normal)

    check()


@pytest.mark.parametrize("code", [code for code in language_codes() if _named(code)])
def test_three_in_a_row_are_left_alone(code: str) -> None:
    """All triples of characters that rules name, with a dropped one between them; of many triples every seventh,
    which leaves out no pair.
    """
    language, characters = get_language(code), [*_named(code), "\u2060"]
    for three in islice(product(characters, repeat=3), 0, None, 7 if len(characters) > 30 else 1):
        normal = language.normalise("".join(three))
        assert language.normalise(normal) == normal


@pytest.mark.parametrize("code", language_codes())
def test_units_are_what_was_written(code: str) -> None:
    language = get_language(code)
    between = regex.compile(r"[\s\p{DI}\u0F0B\u0F0C]*", regex.V1)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(_texts(code))
    def check(text: str) -> None:
        text, at = unicodedata.normalize("NFC", text), 0
        for unit in language.segment(text):
            assert unit and not regex.search(r"[ \t\n\u3000]", unit)
            found = text.index(unit, at)
            assert between.fullmatch(text, at, found)
            at = found + len(unit)
        assert between.fullmatch(text, at)

    check()


@pytest.mark.parametrize(
    ("code", "text", "normal"),
    [
        ("bo", "\u0f40\u0f77\u0f40\u0f79", "\u0f40\u0fb2\u0f71\u0f80\u0f40\u0fb3\u0f71\u0f80"),  # deprecated
        (
            "bo",
            "\u0f40\u0f73\u0f75\u0f81",
            "\u0f40\u0f71\u0f71\u0f71\u0f72\u0f80\u0f74".replace("\u0f71" * 3, "\u0f71"),
        ),
        ("bo", "\u0f43\u0f69\u0f76", "\u0f42\u0fb7\u0f40\u0fb5\u0fb2\u0f80"),  # excluded from composition
        ("bo", "\u0f00", "\u0f68\u0f7c\u0f7e"),  # om has no decomposition, and looks like its spelling in letters
        ("bo", "ཀ\u0f72\u0fb1", "ཀ\u0fb1\u0f72"),  # the stack before its vowel
        ("bo", "ཨ\u0f7e\u0f7c", "ཨོཾ"),
        ("bo", "ཧ\u0f83\u0f74\u0f71", "ཧ\u0f71\u0f74\u0f83"),
        ("bo", "ཚོོགས་དེེར", "ཚོགས་དེར"),
        ("bo", "ཀ\u0f7bཀ\u0f7d", "ཀ\u0f7bཀ\u0f7d"),
        ("bo", "དང༌། ཐོབ༌", "དང་། ཐོབ་"),
        ("bo", "བོད་་༌ཡིག་།", "བོད་ཡིག།"),
        ("bo", "ཡོང་། ཡིན་༎ ངོ་།", "ཡོང་། ཡིན༎ ངོ།"),  # the tsheg before a shad is kept only after nga
        ("bo", "ཡིན།།  རེད། །ཡིན༑", "ཡིན༎ རེད༎ ཡིན།"),
        ("bo", "\ufeffབོད\u200b་\u00adཡིག\u00a0ཡིན", "བོད་ཡིག ཡིན"),
        ("bo", " བོད\u3000 \t(DNA，中)་\ufffd \r\n\r\n\n\n  ཡིག \n", "བོད (DNA，中)་\ufffd\n\nཡིག"),  # visible: kept
        ("dz", "རྫོང༌ཁ་།", "རྫོང་ཁ།"),
        ("zh", "　中\u200b国\u2028神\ufa19", "中国\n神神"),  # U+FA19 is canonically equivalent to 神
        ("en", "don’t\x07  stop\x85now", "don’t stop\nnow"),
        ("ug", "\ufbe8\ufeb3\ufe8e", "\u0649\u0633\u0627"),  # presentation forms
        ("ug", "ک\u064aتاب ئ\u06ccش\u06cc", "كيتاب ئيشى"),
        ("ug", "ت\u0647ر\u0647 \u0647\u200cم", "تھرە ەم"),
        ("ug", "كـــتاب", "كتاب"),
        (
            "kk-Arab",
            "\u0675ن \u0676 \u0677 \u0678 \u0621ال",
            "\u0674\u0627ن \u0674\u0648 \u0674\u06c7 \u0674\u0649 \u0674ال",
        ),
        ("mn-Mong", "ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ  ᠠ\u180eᠠ\u180b", "ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ ᠠ\u180eᠠ\u180b"),
        ("th", "น\u0e4d\u0e32 น\u0e4d\u0e49\u0e32 น\u0e49\u0e4d\u0e32 น\u0e33\u0e49", "นำ น้ำ น้ำ น้ำ"),
        ("th", "เเก\u0e49\u0e35ไป\u200bมา", "แก\u0e35\u0e49ไป\u200bมา"),
        ("lo", "ນ\u0ecd\u0eb2 ນ\u0ec9\u0ecd\u0eb2 ເເ", "ນຳ ນ້ຳ ແ"),
        (
            "my",
            "\u1025\u103a ကြ\u1040\u102c \u1041\u1040 ထ\u1036\u102f",
            "\u1009\u103a ကြ\u101d\u102c \u1041\u1040 ထ\u102f\u1036",
        ),
        ("my", "\u1047\u102d\u1047", "\u101b\u102d\u1047"),
        ("my", "က\u103a\u1037 မ\u102f\u103c", "က\u1037\u103a မ\u103c\u102f"),
        ("km", "\u17a4\u17b4 ក\u17c1\u17b8ក\u17c1\u17b6 \u17d8", "\u17a2\u17b6 ក\u17beក\u17c4 \u17d4\u179b\u17d4"),
        ("km", "ស\u17d2\u179a\u17d2\u178f\u17b8 ក\u200bខ", "ស\u17d2\u178f\u17d2\u179a\u17b8 ក\u200bខ"),
    ],
)
def test_one_spelling(code: str, text: str, normal: str) -> None:
    got = get_language(code).normalise(text)
    assert got == normal, (ascii(got), ascii(normal))


def test_deprecated_tibetan_ends_where_its_decomposition_does() -> None:
    """All composed or deprecated code points of the block, against Unicode's compatibility decomposition."""
    language = get_language("bo")
    decomposed = [chr(i) for i in range(0x0F00, 0x1000) if unicodedata.decomposition(chr(i))]
    assert len(decomposed) == 20
    for sign in decomposed:
        assert language.normalise("ཀ" + sign) == language.normalise("ཀ" + unicodedata.normalize("NFKD", sign))
        assert language.normalise("ཀ" + sign + "ཀ") != "ཀ" + sign + "ཀ"


def test_order_is_canonical_and_whole() -> None:
    """Up to four signs of a stack in any order have one normal form, unchanged by Unicode's canonical order."""
    language = get_language("bo")
    signs = "\u0fb2\u0f71\u0f72\u0f74\u0f39\u0f83\u0f7e\u0f7f"
    for some in product(signs, repeat=4):
        if len(set(some)) == 4:
            assert len({language.normalise("ཀ" + "".join(order)) for order in permutations(some)}) == 1


@pytest.mark.parametrize(
    ("file", "column", "changed", "recut"),
    [
        ("mitra_bo_zh/dev.jsonl", "bo", 41, 3),  # a space or a shad next to a tsheg
        ("udhr_bo_zh/pairs.jsonl", "bo", 37, 1),  # U+0F0C
        ("sib200_flores_bo_zh/train.jsonl", "bo", 58, 5),
        ("nanhai_headlines_bo/headlines.jsonl", "title", 4, 0),
        ("nanhai_headlines_bo/headlines.jsonl", "body", 85, 17),
        ("en_dz_ui/dev.jsonl", "dz", 4, 3),
        ("mitra_bo_zh/dev.jsonl", "zh", 0, 0),
    ],
)
def test_real_corpora(shared, file: str, column: str, changed: int, recut: int) -> None:
    """Number of texts that change, and of those that are segmented differently: only by a sign typed twice, shads that
    are folded, or the fixed-form ra.
    """
    rows = [json.loads(line) for line in (shared / file).read_text(encoding="utf-8").splitlines()]
    language = get_language(column if column in ("zh", "dz") else "bo")
    texts = [row[column] for row in rows]
    normal = [language.normalise(text) for text in texts]
    assert [language.normalise(text) for text in normal] == normal
    assert sum(a != b for a, b in zip(texts, normal, strict=True)) == changed
    other = [(a, b) for a, b in zip(texts, normal, strict=True) if language.segment(a) != language.segment(b)]
    assert len(other) == recut
    for a, b in other:
        fold = regex.sub(r"([\u0F71\u0F72\u0F74\u0F7A-\u0F84])\1+", r"\1", unicodedata.normalize("NFC", a))
        fold = regex.sub(r"[\p{Cf}]", "", fold.replace("\u0f11", "\u0f0d").replace("\u0f6a", "\u0f62"))
        singly = [text.replace("\u0f0e", "\u0f0d\u0f0d") for text in (fold, b)]
        assert language.segment(singly[0]) == language.segment(singly[1])
    kept = [(language.is_consistent(a), language.is_consistent(b)) for a, b in zip(texts, normal, strict=True)]
    assert (True, False) not in kept


@pytest.mark.parametrize(
    ("normal", "spellings"),
    [
        ("དང་། ཐོབ", ["དང། ཐོབ", "དང༌། ཐོབ", "དང །ཐོབ", "དང་ ། ཐོབ", "དང་།ཐོབ", "དང་།་ཐོབ", "དང་། ་ཐོབ", "དང་།\u00a0ཐོབ"]),
        ("དང་༎ ཐོབ", ["དང༎ ཐོབ", "དང། །ཐོབ", "དང་།།ཐོབ", "དང་། ། ཐོབ", "དང་།\u00a0།ཐོབ", "དང་༎་ཐོབ"]),
        ("རེད༎ ༎ དེ", ["རེད༎༎དེ", "རེད། །། །དེ", "རེད།།།།དེ", "རེད། ༎ །དེ", "རེད༎  ༎དེ"]),
        ("རེད༎ ། དེ", ["རེད། ༎ དེ", "རེད།།།དེ", "རེད༎།དེ"]),
        ("ལྔ། ངོ།", ["ལྔ་། ངོ་།", "ལྔ །ངོ །"]),
        ("བོད་ཡིག", ["བོད ་ཡིག", "བོད་ ཡིག", "བོད ་ ཡིག", "་བོད་ཡིག", " ་ བོད་་ཡིག", "བོད༌ཡིག", "བོད་\u3000ཡིག"]),
        ("ཀ\n(ཁ", ["ཀ\n་(་ཁ", "ཀ \n ་(ཁ", "ཀ\r\n(་ཁ"]),
        ("ཧྲཱིཿ ཨའ༔ཧ", ["ཧྲཱིཿཿ ཨའ་༔་ཧ", "ཧྲཱིཿ ཨའ ༔ཧ"]),
        ("ཨོཾ་མ", ["ༀ་མ", "ཨོཾཾ་མ", "ༀཾ་མ", "ཨཾོ་མ"]),
        ("འུྂཿ འུྂ༔", ["༂ ༃"]),
        ("རིན་རྙེད་རྱ་རླུང་ཪྐ", ["ཪིན་ཪྙེད་ཪྱ་ཪླུང་ཪྐ", "ཪ\u2060ིན་རྙེད་རྱ་རླུང་ཪ\u0f90"]),
        ("ལོ་2024 DNA", ["ལོ་２０２４ ＤＮＡ"]),
        ("ཀ྄ཀྃཀ༹", ["ཀ྄྄ཀྃྃཀ༹༹"]),
    ],
)
def test_two_spellings_do_not_stay_two(normal: str, spellings: list[str]) -> None:
    language = get_language("bo")
    for spelling in (normal, *spellings):
        got = language.normalise(spelling)
        assert got == normal, (ascii(spelling), ascii(got), ascii(normal))


@pytest.mark.parametrize(
    "text",
    [
        "༢༠༢༤ 2024 ༪",  # Tibetan digits, other digits, a half
        "མི་ཆོག ། སྐུ ། གྲུ།",  # after ka and ga the first of two shads is omitted
        "བོད་",  # a text may continue
        "བརྟྟ་སྲྲིད་ཀྱྱ",  # stacked double letters, as in Sanskrit
        "ཀཻ་ཀེ་ཀཽ་ཀོ",
        "ཀཾ་ཀྃ་ཀྂ་ཀཿ",
        "ཪྐ་རྐ་ཀྲ་ཀྼ་ཀཱ་ཀྰ",  # letters with a form or size of their own
        'ཟླ་ 5 ཟླ་5 (བོད) （བོད） "བོད" “བོད”',
        "བོད༏ བོད༐ བོད༒ བོད༔ བོད༴ ༄༅༎ བོད༈",
        "ཧྲཱིཿ་མ་ཧྲཱིཿམ",
    ],
)
def test_two_words_stay_two(text: str) -> None:
    assert get_language("bo").normalise(text) == text


def test_dzongkha_has_spaces_between_words_and_tibetan_has_none() -> None:
    text = "ཡིག་སྣོད་ ཁ་ཕྱེ་ནི ་ཡོདཔ"
    assert get_language("dz").normalise(text) == "ཡིག་སྣོད་ ཁ་ཕྱེ་ནི་ཡོདཔ"
    assert get_language("bo").normalise(text) == "ཡིག་སྣོད་ཁ་ཕྱེ་ནི་ཡོདཔ"


def test_any_respelling_has_the_same_normal_form() -> None:
    """Syllables and shads, spelled at random in all ways that the rules name."""
    language = get_language("bo")
    tsheg = st.sampled_from(["་", "༌", "་་", " ་", "་ ", "་\u00a0", "\u200b་༌"])
    shad = st.sampled_from(["། ", "།", "༑ ", " །  ", "་། ", "༌།་", "།\u3000"])
    double = st.sampled_from(["༎ ", "།།", "། །", "།\u00a0། ", "་༎", " །།་ "])
    syllable = st.sampled_from(["བོད", "དང", "ལྔ", "ངོ", "ཨོཾ", "རིན", "རྙེད", "ཧཱུཾ"])
    end = st.one_of(*(st.tuples(st.just(plain), ways) for plain, ways in (("་", tsheg), ("། ", shad), ("༎ ", double))))
    other = {"ཨོཾ": "ༀ", "རིན": "ཪིན", "རྙེད": "ཪྙེེད", "ཧཱུཾ": "ཧཱཱུཾཾ"}

    @settings(max_examples=300, deadline=None, derandomize=True)
    @given(st.lists(st.tuples(syllable, st.booleans(), end), min_size=1, max_size=8))
    def check(parts: list[tuple[str, bool, tuple[str, str]]]) -> None:
        plain = "".join(syllable + end for syllable, _, (end, _) in parts)
        typed = "".join((other.get(syllable, syllable) if odd else syllable) + way for syllable, odd, (_, way) in parts)
        assert language.normalise(typed) == language.normalise(plain)

    check()


@pytest.mark.parametrize("code", language_codes())
def test_composed_and_decomposed_have_one_normal_form(code: str) -> None:
    language = get_language(code)

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(_texts(code))
    def check(text: str) -> None:
        composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
        if language.legacy and (language.legacy.is_used(composed) or language.legacy.is_used(decomposed)):
            return
        assert language.normalise(composed) == language.normalise(decomposed)

    check()
