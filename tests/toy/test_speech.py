"""The world in another language: its sentences, written by hand, and the files of its folder."""

import json
import shutil
from pathlib import Path

import pytest

from semalign_pl.languages import get_language
from semalign_pl.toy import generator
from semalign_pl.toy.__main__ import main
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.lexicon import words
from semalign_pl.toy.speech import CATEGORIES, TIBETAN, speech

SENTENCES = [
    (Meaning("name", "扎西", "读", "书", "text", "两", "图书馆", "昨天"), "เมื่อวาน ตาชีอ่านหนังสือสองเล่มในห้องสมุดแล้ว"),
    (Meaning("kin", "妈妈", "去", place="寺院", time="明天", owner="卓玛"), "พรุ่งนี้ แม่ของโดลมาจะไปวัด"),
    (Meaning("person", "孩子", "听", "故事", "story", time="现在"), "ตอนนี้ เด็กกำลังฟังนิทาน"),
    (Meaning("animal", "牦牛", "吃", "草", "grass", "绿", "草原", "夏天"), "หน้าร้อน จามรีกินหญ้าสีเขียวบนทุ่งหญ้า"),
    (Meaning("animal", "鱼", "睡觉", place="河边"), "ปลานอนริมแม่น้ำแล้ว"),
]


@pytest.mark.parametrize(("meaning", "thai"), SENTENCES)
def test_one_meaning_in_thai(meaning: Meaning, thai: str) -> None:
    assert speech("th").sentence(meaning) == thai


def test_a_headline_keeps_the_event() -> None:
    assert speech("th").headline(SENTENCES[0][0]) == "ตาชีอ่านหนังสือในห้องสมุด"


def test_every_counted_noun_has_a_classifier() -> None:
    thai = speech("th").sentence
    for noun in words("noun").values():
        if noun.counter:
            bare, three = (thai(Meaning("name", "扎西", "买", noun.zh, modifier=m)) for m in ("", "三"))
            before, after = three.split("สาม")
            assert before == bare.removesuffix("แล้ว") and after.removesuffix("แล้ว"), noun.zh


def test_a_folder_in_thai_is_like_the_tibetan(tmp_path: Path, miniature: Path) -> None:
    assert main(["write", str(tmp_path / "th"), "--language", "th"]) == 0
    shutil.copytree(miniature, tmp_path / "bo")
    here, there = (
        {str(path.relative_to(tmp_path / code)) for path in (tmp_path / code).rglob("*")} for code in ("th", "bo")
    )
    assert here ^ there == {"thai.txt", "tibetan.txt"}
    for name in ("chinese.txt", "reading_comprehension.json", "base/model.safetensors"):
        assert (tmp_path / "th" / name).read_bytes() == (tmp_path / "bo" / name).read_bytes()

    thai = get_language("th")
    pairs = {
        s: [json.loads(x) for x in (tmp_path / f"th/pairs/{s}.jsonl").open(encoding="utf-8")] for s in generator.SPLITS
    }
    texts = [(pair["zh"], pair["th"]) for rows in pairs.values() for pair in rows]
    assert [len(rows) for rows in pairs.values()] == [5000, 200, 300]
    assert all(len({text[side] for text in texts}) == len(texts) for side in (0, 1))
    headlines = [json.loads(line) for line in (tmp_path / "th/headlines/dev.jsonl").open(encoding="utf-8")]
    said = [text for _, text in texts] + [text for row in headlines for text in (row["article"], row["headline"])]
    assert all(thai.is_consistent(text) and thai.normalise(text) == text for text in said)


def test_every_word_is_said_in_every_language() -> None:
    """Each of the world's words changes its sentence, so a learner can tell any two words of a category apart."""
    for code in ("bo", "th"):
        spoken = speech(code).sentence
        for category, make in {
            "verb": lambda zh: Meaning("name", "扎西", zh),
            "time": lambda zh: Meaning("name", "扎西", "跑", time=zh),
            "place": lambda zh: Meaning("name", "扎西", "跑", place=zh),
            "name": lambda zh: Meaning("name", zh, "跑"),
            "noun": lambda zh: Meaning("name", "扎西", "买", zh),
        }.items():
            said = [spoken(make(zh)) for zh in words(category)]
            assert len(set(said)) >= len(said) - 1, (code, category)  # Tibetan has one word for writing and painting
    assert TIBETAN is speech("bo") and set(CATEGORIES) >= {"verb", "number"}
