"""Texts that are wholly in a language, by Unicode rules."""

import copy
import pickle
import unicodedata

import pytest

from semalign_pl.languages import Language, get_language
from semalign_pl.languages.read import language_codes

TIBETAN_TEXT = "བོད་ཡིག"
HIDDEN = [
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
        ("mn", "Тушаал № 25", True),
        ("kk", "№ 5 мектеп", True),
        ("ug", "\u200fئۇيغۇرچە\u200f", True),
        ("kk-Arab", "قازاق\u200f ٴتىلى", True),
    ],
)
def test_other_languages(code: str, text: str, consistent: bool) -> None:
    assert get_language(code).is_consistent(text) is consistent


NAMES = {
    "bo": ("Tibetan", "藏文"), "dz": ("Dzongkha", "宗喀文"), "zh": ("Chinese", "中文"), "en": ("English", "英文"),
    "zh-Hans": ("Chinese (simplified)", "简体中文"), "zh-Hant": ("Chinese (traditional)", "繁体中文"),
    "za": ("Zhuang", "壮文"), "ug": ("Uyghur", "维吾尔文"), "kk": ("Kazakh (Cyrillic)", "哈萨克文"),
    "mn": ("Mongolian (Cyrillic)", "蒙古文"), "mn-Mong": ("Mongolian (traditional script)", "传统蒙古文"),
    "ii": ("Yi", "彝文"), "th": ("Thai", "泰文"), "lo": ("Lao", "老挝文"), "my": ("Burmese", "缅甸文"),
    "km": ("Khmer", "高棉文"), "kk-Arab": ("Kazakh (Arabic script)", "阿拉伯字母哈萨克文"),
    "ne": ("Nepali", "尼泊尔文"), "sa": ("Sanskrit", "梵文"),
}  # fmt: skip


def test_names() -> None:
    assert {code: (get_language(code).name, get_language(code).chinese) for code in language_codes()} == NAMES


SAME_SCRIPT = [{"bo", "dz"}, {"zh", "zh-Hans", "zh-Hant"}, {"en", "za"}, {"kk", "mn"}, {"ne", "sa"}]
"""Languages that no rule of characters tells apart, or not in a few words."""


@pytest.mark.parametrize("code", language_codes())
def test_a_language_is_its_own_and_no_other(code: str) -> None:
    language = get_language(code)
    assert language.source and language.is_consistent(language.native) and language.share(language.native) == 1
    assert language.normalise(language.native) == language.native
    for other in language_codes():
        if other != code and not any({code, other} <= same for same in SAME_SCRIPT):
            assert not get_language(other).is_consistent(language.native), other
            assert not language.is_consistent(language.native + get_language(other).native), other


@pytest.mark.parametrize(
    ("code", "text", "consistent"),
    [
        ("ug", "ئۇيغۇر تىلى، 2024-يىل؛ «ۋەتەن»؟", True),
        ("ug", "ئالىمجان", True),
        ("ug", "الصباح", False),  # Arabic sad and hah
        ("ug", "کیتاب", False),  # Persian kaf and yeh, until it is normalised
        ("ug", "ﻣﺎ", False),  # presentation forms, also until it is normalised
        ("kk-Arab", "ٴبىر، ەكى", True),
        ("kk-Arab", "ئۇيغۇر", False),  # no yeh with hamza
        ("ug", "حالىق", False),  # hah occurs only in Kazakh
        ("mn", "Монгол Улсын Их Хурал, 1992 он.", True),
        ("mn", "Сайн байна уу? Мөнгө, үнэ", True),
        ("mn", "Қазақстан", False),
        ("mn", "Київ", False),
        ("mn", "й", True),  # й in two code points
        ("mn-Mong", "ᠮᠣᠩᠭᠣᠯ ᠤᠨ ᠠ᠎ᠠ᠋᠃", True),
        ("mn-Mong", "ᠮᠣᠩᠭᠣᠯ⁠", False),
        ("za", "Bouxcuengh youq Gvangjsih, 2024 bi.", True),
        ("za", "Lü Dungbinh", True),
        ("za", "bouчcueŋƽ", False),  # the letters of 1957
        ("za", "café", False),
        ("en", "Bouxcuengh youq Gvangjsih", True),  # a limit: both use plain Latin letters
        ("ii", "ꆈꌠꁱꂷ。", True),
        ("ii", "ꆈꌠ彝", False),
        ("th", "สวัสดี​ครับ ๑๒ 3 ฿5", True),
        ("th", "ສະບາຍດີ", False),
        ("lo", "ສະບາຍດີ​ບໍ່", True),
        ("my", "မင်္ဂလာပါ။ ၁၂၊", True),
        ("my", "ၵႂၢမ်းတႆး", False),  # Shan
        ("my", "ျမန္မာႏုပ္", False),  # Zawgyi's n
        ("km", "សួស្តី​ពិភពលោក។ ១២", True),
        ("km", "សួស្តី⁠", False),
    ],
)
def test_alphabets(code: str, text: str, consistent: bool) -> None:
    assert get_language(code).is_consistent(text) is consistent


# -- rule 2: characters from editors, keyboards and units; padding and broken marks ------------------------------------

LEFT_IN_TEXT = ["\u200b", "\u200c", "\ufeff", "\u00ad"]


@pytest.mark.parametrize("char", LEFT_IN_TEXT, ids=["zwsp", "zwnj", "bom", "soft hyphen"])
@pytest.mark.parametrize("code", language_codes())
def test_an_invisible_character_is_no_other_language(code: str, char: str) -> None:
    language = get_language(code)
    half = len(language.native) // 2
    for text in (char + language.native, language.native + char):
        assert language.is_consistent(text)
    assert not language.is_consistent(language.native[:half] + char * 300)


@pytest.mark.parametrize("char", "、。「」·")
@pytest.mark.parametrize("code", language_codes())
def test_east_asian_punctuation_is_no_other_language(code: str, char: str) -> None:
    language = get_language(code)
    assert language.is_consistent(language.native + char) and language.is_consistent(char + language.native)


@pytest.mark.parametrize(
    ("text", "consistent"),
    [
        ("m²", True), ("5 m²", True), ("19,500 km²", True), ("160km/h", True), ("12.8 m/s", True), ("35mm", True),
        ("25°C", True), ("5 kg", True), ("㎡", True), ("90kg", True), ("8 GB", True),
        ("m", False), ("km", False), ("5 miles", False), ("5 kmh", False), ("4A", False), ("C", False), ("h", False),
        ("5  km", False), ("/h", True), ("Xm²", False), ("m²x", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize("code", ["bo", "zh", "ug", "th"])
def test_units_of_measurement_are_in_every_language(code: str, text: str, consistent: bool) -> None:
    language = get_language(code)
    for whole in (f"{language.native} {text} {language.native}", f"{language.native} {text}"):
        assert language.is_consistent(whole) is consistent


@pytest.mark.parametrize("letters", ["ང", "བོ"])
@pytest.mark.parametrize(
    "padding",
    ["1" * 300, "༡" * 300, "1 " * 150, "་" * 7, "། " * 10, "!" * 7, "་།" * 4, " " * 300, "、" * 9, "1,1," * 40],
)
def test_padding_is_no_text(letters: str, padding: str) -> None:
    language = get_language("bo")
    assert language.is_consistent(letters)
    for text in (letters + padding, padding + letters, letters[:1] + padding + letters[1:]):
        assert not language.is_consistent(text)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("bo", "ལོ་ 2024 ལ།"), ("bo", "ཡོད་…………"), ("zh", "1905年"), ("zh", "364.6公里"), ("zh", "123456789012345678元"),
        ("zh", "1、2、3和60"), ("bo", "༣༤༥༦.༨ སྦེ་ ༣༤༥༦.༧༨།"), ("en", "a) 1, 2, 3"), ("bo", "ཀ་༡-༢-༣།"),
    ],
)  # fmt: skip
def test_numbers_and_signs_beside_text_are_no_padding(code: str, text: str) -> None:
    assert get_language(code).is_consistent(text)


@pytest.mark.parametrize(
    ("code", "text"),
    [
        ("bo", "ིབོད"), ("bo", "བོད་ིབོད"), ("bo", "བོད།ྱབོད"), ("bo", " ོབོད"), ("bo", "1ོབོད"), ("bo", "ཾབོད"), ("bo", "\u200cིབོད"),
        ("th", "ิสวัสดี"), ("th", "สวัสดี 5ิ"),
        ("my", "ိမြန်မာ"), ("km", "ភាសា ិខ្មែរ"), ("en", "\u0301cafe"), ("en", "tea \u0301"),
    ],
)  # fmt: skip
def test_a_mark_needs_a_letter(code: str, text: str) -> None:
    assert not get_language(code).is_consistent(text)


@pytest.mark.parametrize(
    ("code", "text", "consistent"),
    [
        ("bo", "ཀ" + "ི" * 10, False), ("bo", "ཀིེོིེོིེུུ", False), ("bo", "བོད་ཀིེོུ", False), ("bo", "བོད་ཀ" + "ྐ" * 4, False),
        ("bo", "བོད་ཀ" + "ཾ" * 300, False), ("en", "cafe" + "\u0301" * 4, False), ("th", "กิิิิ", False),
        ("bo", "ཧྐྵྨླྺྼྻྂ", True),  # the Kalachakra monogram
        ("bo", "ཚོོགས", True),  # one key pressed twice, as found in newspapers
        ("bo", "ཧཱུྃ་རྐྱྀ་སྒྲཱུཾ", True), ("my", "ကြွှိုံ့", True), ("th", "ก็ที่", True), ("bo", "༡༹བོད", True),
        ("my", "၀ိုင်း", True),  # zero typed for wa
        ("km", "ហ\u17ca\u200cី", True),
    ],
)  # fmt: skip
def test_no_letter_bears_an_absurd_stack(code: str, text: str, consistent: bool) -> None:
    assert get_language(code).is_consistent(text) is consistent


@pytest.mark.parametrize(
    ("code", "text", "own", "foreign"),
    [
        ("zh", "甲地 (Ellsworth Land) 在南部。", 5, ["Ellsworth", "Land"]),
        ("bo", "བོད་ཡིག IBM’s 公司 สวัสดี", 2, ["IBM’s", "公", "司", "สวัสดี"]),
        ("en", "a 5 km walk, 世界", 3, ["世", "界"]),
        ("zh", "長30km，25°C", 1, []),
        ("th", "สวัสดี John", 4, ["John"]),
        ("bo", "1905", 0, []),
        ("zh-Hans", "汉語 a", 1, ["語", "a"]),
    ],
)
def test_units_are_counted_not_letters(code: str, text: str, own: int, foreign: list[str]) -> None:
    counted, words = get_language(code).count_units(text)
    assert words == foreign and (counted == own if foreign else bool(counted) == bool(own))


def test_several_scripts() -> None:
    japanese = Language("ja", "Japanese", "日本語", ("Han", "Hiragana", "Katakana"), "character", r"\X")
    assert japanese.is_consistent("日本語のテキスト。")
    assert not japanese.is_consistent("日本語 text")
    assert get_language(japanese) is japanese


def test_a_long_text_takes_no_time() -> None:
    assert not get_language("bo").is_consistent("བོད་" * 100_000 + "a")


def test_unknown_language_names_the_known() -> None:
    with pytest.raises(
        ValueError, match=r"^language: 'xx' is not known; give one of bo, dz, .*zh-Hant, the path of a .yaml"
    ):
        get_language("xx")
    with pytest.raises(ValueError, match=r"'zh-hans' is not known; did you mean zh-Hans\?"):
        get_language("zh-hans")


@pytest.mark.parametrize("code", ["bo", "ug", "zh-Hans"])
def test_languages_can_be_copied_after_use(code: str) -> None:
    language = get_language(code)
    assert language.is_consistent(language.native) and language.normalise("a") == "a" and language.segment("a") == ["a"]
    assert hash(language) == hash(get_language(code))
    assert copy.deepcopy(language) == language == pickle.loads(pickle.dumps(language))


@pytest.mark.parametrize(
    ("code", "text", "consistent"),
    [
        ("ne", "\u0906\u0930\u095b\u0941", True),  # za is excluded from composition: NFC writes ja and nukta
        ("ne", "\u092f\u0928\u093c\u092f", False),  # NFC turns both into a letter na that Nepali does not have
        ("en", "Barça", True),
        ("za", "café", False),
        ("ug", "\u0626\u06c7\u064a\u063a\u06c7\u0631", True),
        ("kk", "\u0439\u0456\u0440\u0456\u043c", True),
    ],
)
def test_canonically_equivalent_texts_have_one_verdict(code: str, text: str, consistent: bool) -> None:
    for same in (text, *(unicodedata.normalize(form, text) for form in ("NFC", "NFD"))):
        assert get_language(code).is_consistent(same) is consistent, ascii(same)
