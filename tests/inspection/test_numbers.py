"""Counts, against numbers found by hand or by another way of counting."""

from __future__ import annotations

import random
import statistics
import time
from array import array
from collections import Counter

import numpy as np
import pytest

from semalign_pl.data.cleaning.preparation import Cleaner, Preparation
from semalign_pl.data.cleaning.row_filter import MarkedRow, RowFilter
from semalign_pl.inspection.column import Column, as_array, count_repeats, script_mix
from semalign_pl.inspection.columns import guess_language, text_columns
from semalign_pl.inspection.histogram import histogram
from semalign_pl.inspection.lengths import Lengths
from semalign_pl.inspection.measure import Measure, largest_groups
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.languages import get_language

# Number of characters, then of syllables and shad by eye: ང་-དེ་-རིང་-སྐྱིད་-པོ་-འདུག-། / བོད་-ཡིག-། / ༡༢-པ་-
TIBETAN = {"ང་དེ་རིང་སྐྱིད་པོ་འདུག།": (23, 7), "བོད་ཡིག།": (8, 3), "༡༢པ་": (4, 2)}


@pytest.fixture(scope="module")
def tokens(base) -> TokenCounter:
    return TokenCounter(base)


def counted(lengths: list[int]) -> Lengths:
    found = Lengths()
    found.add(lengths)
    return found


def test_tibetan_syllables_and_characters_by_hand() -> None:
    column = Column("bo", get_language("bo"), None)
    column.add(list(TIBETAN), list(TIBETAN))
    numbers = column.result([])
    assert numbers["characters"] == {"total": 35, "mean": 35 / 3, "p5": 4, "p50": 8, "p95": 23, "p99": 23, "max": 23}
    assert numbers["units"] == {"total": 12, "mean": 4, "p5": 2, "p50": 3, "p95": 7, "p99": 7, "max": 7}
    assert (numbers["unit"], numbers["language"], numbers["tokens"]) == ("syllable", "bo", None)
    assert numbers["wholly_in_language"] == 1


def test_percentiles_are_exact() -> None:
    assert counted(list(range(1, 101))).percentiles(5, 50, 95, 99, 100) == [5, 50, 95, 99, 100]
    assert counted([7]).percentiles(5, 50, 99) == [7, 7, 7]
    lengths = random.Random(1).choices(range(2000), k=5001)
    expected = np.percentile(lengths, [5, 50, 95, 99], method="inverted_cdf").tolist()
    assert counted(lengths).percentiles(5, 50, 95, 99) == expected
    assert counted(lengths).percentiles(50) == [statistics.median(lengths)]
    assert counted(lengths).longer_than(1500) == sum(length > 1500 for length in lengths)
    assert counted([]).summary() == {"total": 0, "mean": 0.0, "p5": 0, "p50": 0, "p95": 0, "p99": 0, "max": 0}


def test_tokens_are_those_of_the_tokenizer(tokens, tokenizer) -> None:
    texts = ["དགེ་རྒན་སློབ་གྲྭར་", "བོད་ཡིག།", "Straße"]
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert tokens.encode(texts) == encoded
    column = Column("bo", get_language("bo"), tokens)
    column.add(texts, texts)
    numbers = column.result([3, len(encoded[1]), 1000])["tokens"]
    total = sum(map(len, encoded))
    units = sum(len(get_language("bo").segment(text)) for text in texts)
    assert numbers["total"] == total
    assert numbers["per_unit"] == total / units and numbers["per_character"] == total / sum(map(len, texts))
    assert numbers["longer_than"]["3"] == sum(len(ids) > 3 for ids in encoded) / 3
    assert numbers["longer_than"][str(len(encoded[1]))] == sum(len(ids) > len(encoded[1]) for ids in encoded) / 3
    assert numbers["longer_than"]["1000"] == 0


def test_fragments_are_tokens_that_are_no_whole_characters(tokens) -> None:
    ids = tokens.encode(["ཤ"])[0]  # a letter that the tokenizer never saw becomes bytes
    assert len(ids) > 1 and tokens.shares(Counter(ids)) == {"fragments": 1.0, "unknown": 0.0}
    assert tokens.shares(Counter(tokens.encode(["abc"])[0])) == {"fragments": 0.0, "unknown": 0.0}
    assert tokens.shares(Counter()) == {"fragments": 0.0, "unknown": 0.0}


def test_unknown_tokens_are_counted(tmp_path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    raw = Tokenizer(models.WordLevel({"[UNK]": 0, "hello": 1}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=raw, unk_token="[UNK]").save_pretrained(tmp_path)
    words = TokenCounter(str(tmp_path))
    ids = words.encode(["hello བོད hello hello"])[0]
    assert words.shares(Counter(ids)) == {"fragments": 0.0, "unknown": 0.25}


def test_a_tokenizer_that_cuts_and_pads_counts_all_the_same(tokenizer, tmp_path) -> None:
    import copy

    cutting = copy.deepcopy(tokenizer)
    cutting.backend_tokenizer.enable_truncation(4)
    cutting.backend_tokenizer.enable_padding(length=4)
    cutting.save_pretrained(tmp_path)
    texts = ["a", "བོད་ཡིག་གི་ཡི་གེ།"]
    expected = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    assert len(expected[0]) < 4 < len(expected[1])
    assert TokenCounter(str(tmp_path)).encode(texts) == expected


def test_script_mix_by_hand() -> None:
    # Four Tibetan letters (vowel signs and tsheg do not count), two Han, one Latin, one kana; digits have no script.
    assert script_mix(Counter("བོད་ཡིག 中文 a カ 12。")) == {
        "Tibetan": 4 / 8,
        "Han": 2 / 8,
        "Latin": 1 / 8,
        "Katakana": 1 / 8,
    }
    many = Counter("aaaaaaббббб中中中中བབབกกກ")
    assert script_mix(many, most=3) == {"Latin": 6 / 21, "Cyrillic": 5 / 21, "Han": 4 / 21, "other": 6 / 21}
    assert script_mix(Counter("12 ?")) == {}


@pytest.mark.parametrize(
    ("column", "texts", "code"),
    [
        ("bo", ["བོད་ཡིག།"], "bo"),
        ("dz", ["བོད་ཡིག།"], "dz"),
        ("target", ["བོད་ཡིག། abc"], "bo"),
        ("x", ["中文，"], "zh"),
        ("zh_hant", ["中文，"], "zh-Hant"),
        ("y", ["An English text."], "en"),
        ("ug", ["ئۇيغۇر"], "ug"),
        ("z", ["สวัสดี"], "th"),
        ("w", ["Ελληνικά"], None),
        ("v", ["123"], None),
    ],
)
def test_language_is_guessed_by_script_then_by_name(column, texts, code) -> None:
    guessed = guess_language(column, texts)
    assert (guessed and guessed.code) == code


def test_a_long_run_of_letters_is_searched_once() -> None:
    row = {"zh": "x" * 200_000, "bo": "བོད་ཡིག།" * 25_000}
    started = time.process_time()
    assert text_columns("f", [row]) == ["bo"]
    assert guess_language("bo", [row["bo"]]).code == "bo"
    assert time.process_time() - started < 15  # a search from every letter took minutes, a million letters an hour


def keys(rows: list[dict[str, str]], **languages: str) -> list[int]:
    row_filter = RowFilter.of(Cleaner.of(Preparation(script=None), languages), list(rows[0]), [])
    return [one.key or 0 for one in row_filter([("", row) for row in rows])]


def test_equal_rows_have_equal_keys_and_others_do_not() -> None:
    one, two = keys([{"bo": "བོད་\u0f0cཡིག །\n"}, {"bo": " བོད\u0f0bཡིག\u00a0།"}], bo="bo")
    assert one == two != 0
    one, two = keys([{"x": "e\u0301"}, {"x": "é"}])
    assert one == two
    rows = [("a", "b"), ("ab", ""), ("a", "b "), ("b", "a"), ("", "ab"), ("A", "b!")]
    found = keys([dict(zip("xy", row, strict=True)) for row in rows])
    assert len(set(found)) == 4 and found[0] == found[2] == found[5]


def test_rows_that_differ_in_signs_alone_differ() -> None:
    """The answers √ and × of a true-or-false question have no letters."""
    assert len(set(keys([{"q": "Is it?", "a": answer} for answer in ("√", "×", "✓")]))) == 3
    assert len(set(keys([{"q": "Is it?", "a": answer} for answer in ("√", " √ ")]))) == 1


def test_groups_of_equal_texts() -> None:
    prints = as_array(array("Q", [5, 9, 5, 7, 9, 9, 1]))
    assert count_repeats(prints) == 3
    assert largest_groups(prints, 5, 2) == [(3, [1, 4]), (2, [0, 2])]
    assert largest_groups(prints, 1, 9) == [(3, [1, 4, 5])]
    assert largest_groups(as_array(array("Q")), 5, 2) == [] and count_repeats(as_array(array("Q"))) == 0


def test_a_sample_is_drawn_from_everywhere_and_by_seed() -> None:
    def sample(seed: int) -> list[int]:
        measure = Measure({"x": Column("x", None, None)}, 5, seed)
        for start in range(0, 200, 16):
            places = range(start, min(start + 16, 200))
            rows = [(str(i), {"x": f"row {i}"}) for i in places]
            measure.add(rows, [MarkedRow(id, row, None, None) for id, row in rows])
        assert all(row == {"x": f"row {place}"} and id == str(place) for place, id, row in measure.sampled)
        return sorted(place for place, _, _ in measure.sampled)

    assert sample(0) == sample(0) != sample(1)
    means = [statistics.mean(sample(seed)) for seed in range(60)]
    assert abs(statistics.mean(means) - 99.5) < 4 * 57.7 / (5 * 60) ** 0.5
    assert all(len(set(sample(seed))) == 5 for seed in range(5))


def test_memory_does_not_grow_by_text() -> None:
    import tracemalloc

    measure = Measure({"x": Column("x", get_language("en"), None)}, 5, 0)

    def add(start: int) -> None:
        texts = [f"{i} " + "some words that make a row long " * 8 for i in range(start, start + 1000)]
        rows = [(str(i), {"x": text}) for i, text in enumerate(texts)]
        measure.add(rows, [MarkedRow(id, row, None, i) for i, (id, row) in enumerate(rows, start)])

    add(0)
    tracemalloc.start()
    for start in range(1000, 11_000, 1000):
        add(start)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 10_000 * 60  # two hashes of eight bytes per row, and space to grow; the row's text takes 260 bytes


@pytest.mark.parametrize("lengths", [[3], [1, 2, 3], list(range(500)), [1] * 99 + [100_000], [0, 0, 7]])
def test_histograms_show_every_text(lengths) -> None:
    drawn = histogram(counted(lengths), [2, 10**6])
    heights = [float(bar.split("v-")[1].split("h")[0]) for bar in (drawn.bars + drawn.tail).split("z") if bar]
    most = max(Counter(lengths).values()) if len(set(lengths)) < 5 else None
    assert heights and max(heights) == pytest.approx(136, abs=0.1)
    if most:
        assert sum(heights) / 136 * most == pytest.approx(len(lengths), rel=0.01)
    assert 10**6 in drawn.beyond and [label for _, label in drawn.limits] in ([], ["2"])
    assert drawn.ticks[0] == (0, "0") and len(drawn.ticks) <= 9
