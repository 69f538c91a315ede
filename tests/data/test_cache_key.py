"""Key of the cache: prepared rows are made anew if the format, the languages' data or the settings change."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

import pytest

from semalign_pl.data.cleaning import preparation
from semalign_pl.data.cleaning import prepare as preparing
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import FORMAT, CorpusRequest, prepare
from semalign_pl.languages import get_language

GOLDEN = "fcbe70896a9c1aaa713da894165f83f4e564a70d4308aa0335ef3f6557cc6205"
"""Hash of the rows and reasons below for FORMAT."""
LONG = "དགེ་རྒན་གྱིས་སློབ་གྲྭ་ནས་སློབ་མ་རྣམས་ལ་ཡི་གེ་འབྲི་རྒྱུ་བསླབས་པ་རེད"
SENTENCE = "老师在学校里教学生们写字读书唱歌跳舞，"
LINES: list[dict[str, object]] = [
    {"zh": SENTENCE + "大家都很高兴。", "bo": LONG + "།"},
    {"zh": SENTENCE + "大家都很高兴", "bo": LONG.replace("་", "\u0f0c") + " ༎"},  # duplicate, by the normal form
    {"zh": SENTENCE + "大家都不高兴。", "bo": LONG + "སོ།"},  # near-duplicate
    {"zh": "\u200b\ufeff", "bo": "སྟོང་པ།"},  # empty
    {"zh": "Only English words here", "bo": "དབྱིན་ཡིག་གི་ཚིག།"},  # script
    {"zh": "甲地 (Ellsworth Land) 在南部。", "bo": "ས་ཆ་ཞིག་ལྷོ་ཕྱོགས་སུ་ཡོད།"},
    {"zh": "短", "bo": LONG * 3},  # length ratio
    {"zh": "今天的天气非常好啊，我们去公园。", "bo": "གཞན་ཞིག་རེད།"},  # leak
    {"zh": "ｆｕｌｌ２３ｋｍ長い道", "bo": "རི་མོ་\u0f77\u0f71\u0f72བྲིས།"},
    {"zh": 5, "bo": "གྲངས་ཀ"},  # bad row
    {"zh": "e\u0301\u00a0\u3000中文，\tab文字。", "bo": "བོད་ཡིག་ \r\n ཡག་པོ༑༑འདུག"},
    {"zh": "他说：“藏文很美。”", "bo": "ཁོས་བོད་ཡིག་མཛེས་པོ་འདུག་ཟེར།"},
]
HELD_OUT: list[dict[str, object]] = [{"zh": "今天的天气非常好啊我们去公园", "bo": "དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག"}]
PAIR = {"zh": "zh", "bo": "bo"}


def request(path: Path, rows: list[dict[str, object]], **more: object) -> CorpusRequest:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    settings = Preparation(near_duplicates=0.8)
    made = CorpusRequest(
        str(path), PAIR, fields=("zh", "bo"), languages=PAIR, pair=("zh", "bo"), prepare=settings, bad_rows="quarantine"
    )
    return dataclasses.replace(made, **more)


def test_the_rows_and_reasons_of_this_format(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Users' caches are used as long as FORMAT is the same, so the rows must be the same too."""
    monkeypatch.chdir(tmp_path)
    held_out = prepare(request(Path("dev.jsonl"), HELD_OUT, filters=False), cache=tmp_path)
    made = prepare(request(Path("train.jsonl"), LINES), [held_out], tmp_path)
    reasons = ("bad_row", "empty", "script", "length_ratio", "duplicate", "near_duplicate", "leak")
    assert made.report["dropped"] == dict.fromkeys(reasons, 1)
    content = [json.dumps([*held_out.table, *made.table]), (made.folder / "dropped.jsonl").read_text(encoding="utf-8")]
    digest = hashlib.sha256("".join(content).encode()).hexdigest()
    assert (FORMAT, digest) == (3, GOLDEN), "if this change is meant, raise FORMAT"


def test_another_format_is_prepared_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = request(tmp_path / "train.jsonl", LINES)
    first = prepare(wanted, cache=tmp_path)
    assert prepare(wanted, cache=tmp_path).folder == first.folder
    monkeypatch.setattr(preparing, "FORMAT", FORMAT + 1)
    assert prepare(wanted, cache=tmp_path).folder != first.folder


@pytest.mark.parametrize("key", ["letters", "allowed", "replacements", "scripts", "legacy"])
def test_changed_data_of_a_language_is_prepared_anew(key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Such as after an edit of languages.yaml, or of a user's own file."""
    changes = {
        "letters": r"[\u0F40-\u0F6C\u0F71-\u0F84]",
        "allowed": "#",
        "replacements": (("་་", "་"),),
        "scripts": ("Tibetan", "Latin"),
        "legacy": get_language("my").legacy,
    }
    wanted = request(tmp_path / "train.jsonl", LINES)
    first = prepare(wanted, cache=tmp_path)
    changed = dataclasses.replace(get_language("bo"), **{key: changes[key]})
    monkeypatch.setattr(preparation, "get_language", lambda code: changed if code == "bo" else get_language(code))
    assert prepare(wanted, cache=tmp_path).folder != first.folder
