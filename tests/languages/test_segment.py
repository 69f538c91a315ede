"""Units of text, and segmentation of real corpora."""

import json
import pathlib
import unicodedata

import pytest
import regex

from semalign_pl.languages import get_language

SHARED = pathlib.Path(__file__).parents[2].parent / "shared" / "data"


@pytest.mark.parametrize(
    ("code", "text", "units"),
    [
        ("bo", "", []),
        ("bo", "་ ་", []),
        ("bo", "བཀྲ་ཤིས་བདེ་ལེགས།", ["བཀྲ", "ཤིས", "བདེ", "ལེགས", "།"]),
        ("bo", "བཀྲ་ཤིས", ["བཀྲ", "ཤིས"]),
        ("bo", "དང༌། ཐོབ", ["དང", "།", "ཐོབ"]),  # U+0F0C
        ("bo", "ཡིན།  །རེད༎", ["ཡིན", "།", "།", "རེད", "༎"]),
        ("bo", "ཟླ་༡༢ཚེས་25", ["ཟླ", "༡༢", "ཚེས", "25"]),
        ("bo", "༼བོད༽《ཡིག》", ["༼", "བོད", "༽", "《", "ཡིག", "》"]),
        ("bo", "བོད་DNA中文", ["བོད", "DNA", "中", "文"]),
        ("bo", "ཨོཾ་མ་ཎི\nཧཱུྃ", ["ཨོཾ", "མ", "ཎི", "ཧཱུྃ"]),
        ("bo", "བོད\ufffdཡིག", ["བོད", "\ufffd", "ཡིག"]),
        ("zh", "中国，2024年iPhone！", ["中", "国", "，", "2024", "年", "iPhone", "！"]),
        ("zh", " 一 二\n", ["一", "二"]),
        ("bo", "བཀྲ་\u200bཤིས་\ufeff།", ["བཀྲ", "ཤིས", "།"]),  # nobody can see them
        ("zh", "一\u200b二\u200e，", ["一", "二", "，"]),
        ("en", "\u200fone \u2060two", ["one", "two"]),
        ("en", "Don't stop, O’Neil: 3rd (café).", ["Don't", "stop", ",", "O’Neil", ":", "3rd", "(", "café", ")", "."]),
        ("dz", "རྫོང་ཁ།", ["རྫོང", "ཁ", "།"]),
        ("zh-Hant", "繁體，3字", ["繁", "體", "，", "3", "字"]),
        ("za", "Gou miz saek'aen, raiz.", ["Gou", "miz", "saek'aen", ",", "raiz", "."]),
        ("ug", "ئۇيغۇر تىلى، 2024-يىل؟", ["ئۇيغۇر", "تىلى", "،", "2024", "-", "يىل", "؟"]),
        ("kk-Arab", "ٴبىر ٴتىل.", ["ٴبىر", "ٴتىل", "."]),
        ("mn", "Монгол Улс, 1992 он.", ["Монгол", "Улс", ",", "1992", "он", "."]),
        ("mn-Mong", "ᠮᠣᠩᠭᠣᠯ\u202fᠤᠨ ᠠ\u180eᠠ\u180b᠃", ["ᠮᠣᠩᠭᠣᠯ", "ᠤᠨ", "ᠠ\u180eᠠ\u180b", "᠃"]),
        ("ii", "ꆈꌠ 2ꁱ。", ["ꆈ", "ꌠ", "2", "ꁱ", "。"]),
        ("th", "น้ำใจ เก้า เชียร์\u200b๑๒ok", ["น้ำ", "ใจ", "เก้า", "เชี", "ย", "ร์", "๑๒", "ok"]),
        ("lo", "ສະບາຍ ເຂົ້າ ຫຼາຍ", ["ສະ", "ບາ", "ຍ", "ເຂົ້າ", "ຫຼາ", "ຍ"]),
        ("my", "မြန်မာ အင်္ဂလိပ် စက္ကူ၊ ကျွန်ုပ် ၁၂", ["မြန်", "မာ", "အင်္ဂ", "လိပ်", "စက္ကူ", "၊", "ကျွန်ုပ်", "၁၂"]),
        ("my", "၎င်း၏ ဥပဒေ ယောက်ျား", ["၎င်း", "၏", "ဥ", "ပ", "ဒေ", "ယောက်ျား"]),
        ("km", "ភាសាខ្មែរ\u200bស្ត្រី ១២។", ["ភា", "សា", "ខ្មែ", "រ", "ស្ត្រី", "១២", "។"]),
    ],
)
def test_segment(code: str, text: str, units: list[str]) -> None:
    assert get_language(code).segment(text) == units


def test_nfc_comes_first_and_nothing_else() -> None:
    assert get_language("bo").segment("ཚོོགས།།") == ["ཚོོགས", "།", "།"]  # normalise would change both
    # U+0F73 is two vowel signs in one code point; NFC always decomposes it.
    assert get_language("bo").segment("ཀ\u0f73") == get_language("bo").segment("ཀ\u0f71\u0f72")


def _column(file: str, column: str) -> list[str]:
    path = SHARED / file
    if not path.exists():
        pytest.skip("the shared corpora are not here")
    return [json.loads(line)[column] for line in path.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(
    ("file", "column", "share"),
    [
        ("udhr_bo_zh/pairs.jsonl", "bo", 0.975),
        ("mitra_bo_zh/dev.jsonl", "bo", 1.0),
        ("nanhai_headlines_bo/headlines.jsonl", "title", 0.986),
        ("nanhai_headlines_bo/headlines.jsonl", "body", 0.956),
        ("sib200_flores_bo_zh/train.jsonl", "bo", 0.930),
    ],
)
def test_real_tibetan(file: str, column: str, share: float) -> None:
    language = get_language("bo")
    texts = _column(file, column)
    refused = [text for text in texts if not language.is_consistent(text)]
    assert 1 - len(refused) / len(texts) == pytest.approx(share, abs=1e-3)
    # Refused texts have words in another script, or a vowel sign typed after a tsheg, a shad or a space.
    assert sum(regex.search(r"\p{Latin}|\p{Han}|[་། ]\p{M}", text) is None for text in refused) == 0


def test_real_syllables_are_short() -> None:
    language = get_language("bo")
    texts = _column("nanhai_headlines_bo/headlines.jsonl", "body")[:100]
    syllables = [unit for text in texts for unit in language.segment(text) if regex.fullmatch(r"\p{Tibetan}+", unit)]
    assert 2.0 < sum(map(len, syllables)) / len(syllables) < 4.0
    for text in texts:
        kept = "".join(language.segment(text))
        assert kept == regex.sub(r"[\s\u0F0B\u0F0C\p{DI}]", "", unicodedata.normalize("NFC", text))
