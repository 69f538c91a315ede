"""Wylie and words by libraries: round trips on word lists and corpora, and a small dialect pack built here."""

import json
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from semalign_pl.languages import get_language, tibetan
from semalign_pl.languages.tibetan import from_wylie, to_wylie, words

pytest.importorskip("botok")
pytest.importorskip("pyewts")


@pytest.mark.parametrize(
    ("text", "wylie"),
    [
        ("བཀྲ་ཤིས་བདེ་ལེགས།", "bkra shis bde legs/"),
        ("ཆོས༎ ཡང་། པའི", "chos//_yang /_pa'i"),
        ("གནད་དགས་མངས་བརྒྱུད", "gnad dgas mangs brgyud"),
        ("གཡང་གྱང", "g.yang gyang"),
        ("ཨོཾ་མ་ཎི་པདྨེ་ཧཱུྃ", "oM ma Ni pad+me hU~M"),
        ("ལོ་༢༠༡༥ལོ", "lo 2015lo"),
        ("ཟླ་ 5 (DNA，中)་", "zla [ 5 (DNA，中)] "),
        ("ཀ\nཁ", "ka\nkha"),
        ("", ""),
    ],
)
def test_wylie(text: str, wylie: str) -> None:
    assert to_wylie(text) == wylie
    assert from_wylie(wylie) == text


def test_wylie_as_people_type_it() -> None:
    assert from_wylie("paʼi  bod’i [it’s]") == "པའི་་བོདའི་it’s"
    assert to_wylie("\u0f72") == "\\u0f72" and from_wylie("\\u0f72") == "\u0f72"


@pytest.mark.parametrize("wylie", ["hello", "xyz", "[abc", "a]", "bod yig q", "bkwan"])
def test_what_is_no_wylie_is_refused(wylie: str) -> None:
    with pytest.raises(ValueError, match=r"^Wylie: '.+': .*; mend it, or put what is not Wylie in \[ \]"):
        from_wylie(wylie)


def _syllables(shared, name: str) -> list[str]:
    lines = (shared / "tibetan_wordlists" / name).read_text(encoding="utf-8").splitlines()
    return [line.split("\t")[0] for line in lines if not line.startswith("#")]


@pytest.mark.parametrize(
    ("name", "count", "refused"),
    [("syllables_mitra.tsv", 3072, []), ("syllables_nanhai.tsv", 3950, ["བཀྭན"]), ("botok_particles.tsv", 67, [])],
)
def test_every_listed_syllable_comes_back(shared, name: str, count: int, refused: list[str]) -> None:
    language = get_language("bo")
    listed = _syllables(shared, name)
    assert len(listed) == count
    cannot = []
    for syllable in listed:
        normal = language.normalise(syllable)
        assert language.normalise(normal) == normal
        assert language.is_consistent(syllable) or syllable == "\u0f72"  # a vowel sign alone, which is not a letter
        try:
            assert from_wylie(to_wylie(normal)) == normal
        except ValueError:
            cannot.append(syllable)
    assert cannot == refused  # b is not a prefix of kw


def test_listed_syllables_joined_are_cut_again(shared) -> None:
    language = get_language("bo")
    listed = _syllables(shared, "syllables_mitra.tsv") + _syllables(shared, "syllables_nanhai.tsv")

    @settings(max_examples=200, deadline=None, derandomize=True)
    @given(st.lists(st.sampled_from(listed), min_size=1, max_size=12), st.sampled_from(["་", "༌"]))
    def check(syllables: list[str], tsheg: str) -> None:
        text = tsheg.join(syllables)
        assert [part for syllable in syllables for part in language.segment(syllable)] == language.segment(text)
        normal = language.normalise(text)
        assert "་".join(language.segment(normal)) == normal
        if "བཀྭན" not in syllables:
            assert from_wylie(to_wylie(normal)) == normal

    check()


@pytest.mark.parametrize(
    ("file", "column", "limit", "refused"),
    [
        ("mitra_bo_zh/dev.jsonl", "bo", 1000, 0),
        ("udhr_bo_zh/pairs.jsonl", "bo", 80, 0),
        ("sib200_flores_bo_zh/train.jsonl", "bo", 701, 0),
        ("nanhai_headlines_bo/headlines.jsonl", "title", 635, 0),
        ("nanhai_headlines_bo/headlines.jsonl", "body", 60, 0),
    ],
)
def test_real_sentences_come_back(shared, file: str, column: str, limit: int, refused: int) -> None:
    language, cannot = get_language("bo"), 0
    lines = (shared / file).read_text(encoding="utf-8").splitlines()[:limit]
    for line in lines:
        text = language.normalise(json.loads(line)[column])
        try:
            assert from_wylie(to_wylie(text)) == text
        except ValueError:
            cannot += 1
    assert cannot == refused and len(lines) == limit


@pytest.fixture
def pack(tmp_path):
    """Dialect pack of six words and three particles, in the layout of botok's own."""
    head = "# form\tpos\tlemma\tsense\tfreq\n"
    lists = {
        "words": "བཀྲ་ཤིས བདེ་ལེགས བོད་ཡིག སློབ་མ ཡོད ལྟ",
        "words_non_inflected": "གི ལ འི",
    }
    for name, forms in lists.items():
        folder = tmp_path / "small" / "dictionary" / name
        folder.mkdir(parents=True)
        rows = "".join(f"{form}\tX\t\t\t\n" for form in forms.split())
        (folder / "list.tsv").write_text(head + rows, encoding="utf-8")
    (tmp_path / "small" / "adjustments").mkdir()
    return tmp_path / "small"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("བཀྲ་ཤིས་བདེ་ལེགས། བོད་ཡིག་ལ་ལྟ", ["བཀྲ་ཤིས", "བདེ་ལེགས", "།", "བོད་ཡིག", "ལ", "ལྟ"]),
        ("སློབ་མའི་བོད་ཡིག", ["སློབ་མ", "འི", "བོད་ཡིག"]),  # the affixed particle is a word
        ("བོད་ཡིག DNA ༡༢ 中༌", ["བོད་ཡིག", "DNA", "༡༢", "中"]),
        ("", []),
    ],
)
def test_words(pack, text: str, expected: list[str]) -> None:
    assert words(text, pack) == expected
    assert words(text, str(pack)) == expected


def test_words_need_a_pack(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ValueError, match=r"dialect_packs/general is no dialect pack of botok's, it has no folder dict"):
        words("བོད")
    (tmp_path / "half" / "dictionary").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"half is no dialect pack of botok's, it has no folder adjustments; unpack"):
        words("བོད", tmp_path / "half")


def test_a_missing_library_is_said_with_its_remedy(pack, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "botok", None)  # as if botok were not installed
    monkeypatch.setitem(sys.modules, "pyewts", None)
    tibetan._converter.cache_clear()
    with pytest.raises(ValueError, match=r"words: botok is not installed; run `pip install semalign-pl\[tibetan\]`"):
        words("བོད", pack)
    with pytest.raises(ValueError, match=r"Wylie: pyewts is not installed; run `pip install semalign-pl\[tibetan\]`"):
        to_wylie("བོད")
