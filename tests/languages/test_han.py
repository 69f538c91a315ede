"""The two written forms of Chinese, told apart by the characters that only one of them uses."""

import json

import pytest
import regex

from semalign_pl.languages import get_language


def _column(shared, file: str, column: str) -> list[str]:
    return [json.loads(line)[column] for line in (shared / file).read_text(encoding="utf-8").splitlines()]


def _letters(text: str) -> str:
    """Only Han and neutral characters, since many of these sentences quote Latin names."""
    return regex.sub(r"[\p{L}--\p{Han}]|[^\p{L}]", "", text, flags=regex.V1)


@pytest.mark.parametrize(("file", "rows", "alike"), [("train", 701, 6), ("dev", 99, 2)])
def test_the_same_sentences_in_both_forms(shared, file: str, rows: int, alike: int) -> None:
    """``alike``: number of simplified sentences without any character that only this form uses."""
    simplified, traditional = get_language("zh-Hans"), get_language("zh-Hant")
    either = get_language("zh")
    path = f"sib200_flores_bo_zh/{file}.jsonl"
    pairs = list(zip(_column(shared, path, "zh"), _column(shared, path, "zh_hant"), strict=True))
    as_other = [0, 0]
    for hans, hant in pairs:
        hans, hant = _letters(hans), _letters(hant)
        assert either.is_consistent(hans) and either.is_consistent(hant)
        assert simplified.is_consistent(hans) and traditional.is_consistent(hant)
        as_other[0] += traditional.is_consistent(hans)
        as_other[1] += simplified.is_consistent(hant)
        assert simplified.share(hans) == traditional.share(hant) == 1
    assert len(pairs) == rows and as_other == [alike, 0]


def test_other_corpora(shared) -> None:
    sutras = [_letters(text) for text in _column(shared, "mitra_bo_zh/dev.jsonl", "zh")]
    assert sum(map(get_language("zh-Hant").is_consistent, sutras)) == len(sutras)
    assert sum(map(get_language("zh-Hans").is_consistent, sutras)) < 0.04 * len(sutras)
    paragraphs = json.loads((shared / "cmrc2018" / "cmrc2018_trial.json").read_text(encoding="utf-8"))
    texts = [_letters(text) for text in regex.findall(r"\p{Han}{8,}", json.dumps(paragraphs, ensure_ascii=False))]
    assert sum(map(get_language("zh-Hans").is_consistent, texts)) > 0.995 * len(texts)


@pytest.mark.parametrize(
    ("text", "hans", "hant"),
    [
        ("中文", True, True),
        ("汉语", True, False),
        ("漢語", False, True),
        ("汉語", False, False),
        ("與", False, True),
        ("与", True, False),
        ("皇后与台北、万里、乾坤", True, False),  # only 与 is simplified; the others are in use in both forms
        ("皇后、台北、万里、乾坤", True, True),
        ("漢語。ABC", False, False),
    ],
)
def test_words(text: str, hans: bool, hant: bool) -> None:
    assert (get_language("zh-Hans").is_consistent(text), get_language("zh-Hant").is_consistent(text)) == (hans, hant)


def test_share_counts_the_other_form_as_foreign() -> None:
    assert get_language("zh-Hans").share("汉語 a") == pytest.approx(1 / 3)
    assert get_language("zh").share("汉語 a") == pytest.approx(2 / 3)
