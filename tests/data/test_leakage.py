"""Planted leaks are found, and texts that are only similar are kept."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from semalign_pl.data.cleaning.leakage import LeakIndex, Texts, gram_hashes, letters


def pairs(path: Path) -> list[Texts]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [(row["zh"], row["bo"]) for row in rows]


def changed(text: str, pool: str, rng: random.Random, ways: str) -> str:
    """Change a fifth of the characters: replaced, deleted or preceded by another one, as ``ways`` allows."""
    characters = list(text)
    for place in sorted(rng.sample(range(len(text)), round(len(text) / 5)), reverse=True):
        way, other = rng.choice(ways), rng.choice(pool)
        characters[place] = {"replace": other, "delete": "", "insert": other + characters[place]}[
            {"r": "replace", "d": "delete", "i": "insert"}[way]
        ]
    return "".join(characters)


@pytest.mark.parametrize("name", ["mitra_bo_zh", "sib200_flores_bo_zh"])
def test_planted_leaks_are_found(shared: Path, name: str) -> None:
    """Required: all exact leaks, and 95 % of those with a fifth of all characters changed, on both sides."""
    background, dev = pairs(shared / name / "train.jsonl")[:10_000], pairs(shared / name / "dev.jsonl")
    index = LeakIndex(((str(i), texts) for i, texts in enumerate(dev)), background)
    spaced = [(f" {zh}！", bo.replace("\u0f0b", "\u0f0c")) for zh, bo in dev]
    for exact in (dev, spaced, [(zh, "བོད") for zh, _ in dev if len(letters(zh)) >= 8]):
        assert all(leak is not None and leak.kind == "exact" for leak in index.find(exact))
    pools = ["".join(texts[side] for texts in dev) for side in (0, 1)]
    for seed, ways in enumerate(("r", "rdi")):
        rng = random.Random(seed)
        planted = [tuple(changed(t, pool, rng, ways) for t, pool in zip(texts, pools, strict=True)) for texts in dev]
        found = [leak is not None and leak.id == str(i) for i, leak in enumerate(index.find(planted))]
        assert sum(found) / len(dev) >= 0.95


def test_no_false_alarm_on_real_splits(shared: Path) -> None:
    train, dev = (pairs(shared / "mitra_bo_zh" / f"{part}.jsonl") for part in ("train", "dev"))
    index = LeakIndex(((str(i), texts) for i, texts in enumerate(dev)), train[:10_000])
    found = [leak for start in range(0, len(train), 5000) for leak in index.find(train[start : start + 5000])]
    assert len(found) == 60_000 and not any(found)


def test_a_true_leak_of_sib200(shared: Path) -> None:
    """A dev sentence that is the second half of a training row is found; comparing whole rows would miss it."""
    train, dev = (pairs(shared / "sib200_flores_bo_zh" / f"{part}.jsonl") for part in ("train", "dev"))
    index = LeakIndex(((str(i), texts) for i, texts in enumerate(dev)), train)
    (leak,) = [(texts, leak) for texts, leak in zip(train, index.find(train), strict=True) if leak]
    assert dev[int(leak[1].id)][1] in leak[0][1] and leak[1].kind == "near"


def test_a_text_within_a_passage() -> None:
    """A probe's passage has no second side; texts from it are found all the same."""
    passage = "拉萨是西藏自治区的首府，位于雅鲁藏布江支流拉萨河北岸，海拔三千六百五十米，是世界上海拔最高的城市之一。"
    index = LeakIndex([("probe:1", (passage,)), ("probe:2", ("今天天气很好，我们一起去公园散步吧。",))])
    inside, outside = (passage[12:48], "བོད་ལྗོངས།"), ("昨天我在图书馆里读了一本关于历史的书。", "དཔེ་ཆ།")
    leak, none = index.find([inside, outside])
    assert leak is not None and leak.id == "probe:1" and leak.kind == "near" and none is None


def test_short_answers_are_no_leak() -> None:
    index = LeakIndex([("q:1", ("哪一个是首都？" * 3, "A")), ("q:2", ("", ""))])
    assert index.find([("完全不同的问题，问的是另一件事。", "A"), ("", "")]) == [None, None]
    leak = index.find([("哪一个是首都？" * 3, "B")])[0]
    assert leak is not None and leak.id == "q:1" and leak.similarity == 1


def test_letters() -> None:
    assert letters(" Tashi\u0f0c བཀྲ་ཤིས། 12\u200b!") == letters("tashi བཀྲཤིས12") == "tashiབཀྲཤིས12"


def test_gram_hashes_stay_within_a_text() -> None:
    """Equal 4-grams have equal hashes at every position, none spans two texts, and short texts have none."""
    hashes, owner = gram_hashes([("abcde", "xyz"), ("abc", ""), ("zabcd", "fxyzw")])
    assert owner.tolist() == [0, 0, 2, 2, 2, 2]
    assert hashes[0] == hashes[3] and len(np.unique(hashes)) == 5
    assert len(gram_hashes([])[0]) == len(gram_hashes([("ab", "c")])[0]) == 0
