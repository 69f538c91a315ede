"""Preparation: every row is kept or counted, dropped rows are listed, and stale cache entries are recognised."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from semalign_pl.data.cleaning.preparation import Cleaner, Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.storing.cache import Prepared, summary

BO = "བོད་ཡིག་གི་དཔེ་ཆ་ཀློག་"
ROWS = [
    {"zh": "老师在学校里教学生们读书。", "bo": "དགེ་རྒན་གྱིས་སློབ་གྲྭ་ནས་སློབ་མ་ལ་བསླབས་པ་རེད།"},
    {"zh": "老师在学校里教学生们读书", "bo": "དགེ་རྒན་གྱིས་སློབ་གྲྭ་ནས་སློབ་མ་ལ་བསླབས་པ་རེད"},  # duplicate
    {"zh": "This is English, not Chinese", "bo": BO + "རེད།"},  # script
    {"zh": "\u200b\u200b", "bo": BO + "ཡོད།"},  # empty in normal form
    {"zh": "长", "bo": BO * 10},  # length ratio
    {"zh": "今天的天气非常好啊我们去公园", "bo": "དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག་ང་ཚོ་གླིང་ཁར་འགྲོ།"},  # leak of dev
    {"zh": "牧民在草原上放牛羊和马。", "bo": "འབྲོག་པས་རྩྭ་ཐང་ནས་གནག་ལུག་འཚོ་བཞིན་ཡོད།"},
]
DEV = [{"zh": "今天的天气非常好啊，我们去公园。", "bo": "དེ་རིང་གནམ་གཤིས་ཡག་པོ་འདུག"}]


def jsonl(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def request(source: str, prepare: Preparation | None = None, **more: Any) -> CorpusRequest:
    columns = {"zh": "zh", "bo": "bo"}
    return CorpusRequest(
        source, columns, fields=("zh", "bo"), languages=dict(columns), pair=("zh", "bo"), prepare=prepare, **more
    )


def dropped(prepared: Prepared) -> list[tuple[str, str]]:
    lines = (prepared.folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    return [(line["id"], line["reason"]) for line in map(json.loads, lines)]


def test_every_reason_is_counted_and_listed(tmp_path: Path) -> None:
    dev = prepare(request(jsonl(tmp_path / "dev.jsonl", DEV), Preparation(), filters=False), cache=tmp_path / "c")
    train = prepare(request(jsonl(tmp_path / "t.jsonl", ROWS), Preparation()), [dev], tmp_path / "c")
    assert train.report["read"] == 7 and train.report["kept"] == 2 == len(train.table)
    assert sorted(dropped(train)) == [
        ("t.jsonl:2", "duplicate"),
        ("t.jsonl:3", "script"),
        ("t.jsonl:4", "empty"),
        ("t.jsonl:5", "length_ratio"),
        ("t.jsonl:6", "leak"),
    ]
    assert train.report["dropped"] == dict.fromkeys(["script", "empty", "length_ratio", "leak", "duplicate"], 1)
    assert [row["id"] for row in train.table] == ["t.jsonl:1", "t.jsonl:7"]
    lines = (train.folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()
    (listed,) = [line for line in map(json.loads, lines) if line["reason"] == "script"]
    assert listed["row"] == {"zh": ROWS[2]["zh"], "bo": ROWS[2]["bo"]}  # a dropped row can be recovered
    assert "7 rows read, 2 kept; dropped " in summary(train.report)
    assert len(dev.table) == 1  # evaluation rows are never filtered


def test_without_preparation_rows_are_as_they_stand(tmp_path: Path) -> None:
    rows = prepare(request(jsonl(tmp_path / "t.jsonl", ROWS)), cache=tmp_path / "c")
    assert [{name: row[name] for name in ("zh", "bo")} for row in rows.table] == ROWS and rows.report["dropped"] == {}


@pytest.mark.parametrize(
    ("settings", "gone"),
    [
        ({"script": None}, {2, 4, 5}),
        ({"duplicates": False}, {3, 4, 5}),
        ({"length_ratio": None}, {2, 3, 4}),
        ({"length_ratio": 100}, {2, 3, 4}),
    ],
)
def test_settings(tmp_path: Path, settings: dict[str, Any], gone: set[int]) -> None:
    train = prepare(request(jsonl(tmp_path / "t.jsonl", ROWS), Preparation(**settings)), cache=tmp_path / "c")
    assert {int(id.rpartition(":")[2]) for id, _ in dropped(train)} == gone


def test_normal_form_and_near_duplicates(tmp_path: Path) -> None:
    long = "དགེ་རྒན་གྱིས་སློབ་གྲྭ་ནས་སློབ་མ་རྣམས་ལ་ཡི་གེ་འབྲི་རྒྱུ་བསླབས་པ་རེད"
    rows = [
        {"zh": "老师在学校里教学生们写字读书唱歌跳舞。", "bo": long + "།"},
        {"zh": "老师在学校里教学生们写字读书唱歌画画。", "bo": long.replace("་", "\u0f0c") + "།"},
        {"zh": "农民在田里收割青稞。", "bo": "ཞིང་པས་ཞིང་ཁར་ནས་བརྔ་གི་ཡོད།"},
    ]
    source = jsonl(tmp_path / "t.jsonl", rows)
    kept = prepare(request(source, Preparation()), cache=tmp_path / "c")
    assert kept.table[1]["bo"] == long + "།" and len(kept.table) == 3  # the non-breaking tsheg becomes the ordinary one
    near = prepare(request(source, Preparation(near_duplicates=0.9)), cache=tmp_path / "c")
    assert dropped(near) == [("t.jsonl:2", "near_duplicate")] and len(near.table) == 2


def test_bad_rows(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "t.jsonl", [ROWS[0], {"zh": "", "bo": "ཀ"}, {"zh": 7, "bo": "ཀ"}, ROWS[6]])
    with pytest.raises(ValueError, match=r"t.jsonl:2: 'zh', the field zh, is empty .* or drop the row"):
        prepare(request(source), cache=tmp_path / "c")
    rows = prepare(request(source, bad_rows="quarantine"), cache=tmp_path / "c")
    assert (rows.report["read"], rows.report["kept"], rows.report["dropped"]) == (4, 2, {"bad_row": 2})
    assert dropped(rows) == [("t.jsonl:2", "bad_row"), ("t.jsonl:3", "bad_row")]
    assert not list((tmp_path / "c").glob(".*"))  # a failed preparation leaves nothing


def test_no_row_left(tmp_path: Path) -> None:
    source = jsonl(tmp_path / "t.jsonl", [{"zh": "老师看书。", "bo": "Lhasa"}, ROWS[3]])  # a name alone is no mistake
    with pytest.raises(ValueError, match=r"none of its 2 rows is left: 1 script, 1 empty; .*data.init_args.prepare"):
        prepare(request(source, Preparation()), cache=tmp_path / "c")


def test_the_cache_follows_content_and_settings(tmp_path: Path) -> None:
    cache, source = tmp_path / "c", jsonl(tmp_path / "t.jsonl", ROWS)
    dev = prepare(request(jsonl(tmp_path / "dev.jsonl", DEV), Preparation(), filters=False), cache=cache)
    first = prepare(request(source, Preparation()), [dev], cache)
    made = (first.folder / "rows.arrow").stat().st_mtime_ns
    again = prepare(request(source, Preparation()), [dev], cache)
    assert again.folder == first.folder and (again.folder / "rows.arrow").stat().st_mtime_ns == made

    others = {
        "settings": prepare(request(source, Preparation(script=0.4)), [dev], cache),
        "no evaluation": prepare(request(source, Preparation()), [], cache),
        "an evaluation file": prepare(request(source, Preparation(against=[str(tmp_path / "dev.jsonl")])), [], cache),
        "quarantine": prepare(request(source, Preparation(), bad_rows="quarantine"), [dev], cache),
    }
    jsonl(tmp_path / "dev.jsonl", [{"zh": "别的句子，没有泄漏。", "bo": "ཚིག་གཞན།"}])
    new_dev = prepare(request(str(tmp_path / "dev.jsonl"), Preparation(), filters=False), cache=cache)
    others["evaluation content"] = prepare(request(source, Preparation()), [new_dev], cache)
    jsonl(tmp_path / "t.jsonl", ROWS[:-1])
    others["content"] = prepare(request(source, Preparation()), [dev], cache)
    folders = {first.folder, *(prepared.folder for prepared in others.values())}
    assert len(folders) == 1 + len(others)
    assert len(others["content"].table) == 1 and "leak" not in others["evaluation content"].report["dropped"]
    assert others["an evaluation file"].report["dropped"]["leak"] == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"script": 1.5}, "prepare.script is 1.5; give 0 to 1, or null"),
        ({"length_ratio": 0.5}, "prepare.length_ratio is 0.5; give 1 or more"),
        ({"near_duplicates": 0.2}, "prepare.near_duplicates is 0.2; give 0.5 to 1"),
        ({"max_tokens": 0}, "prepare.max_tokens is 0; give 1 or more"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Preparation(**settings)


def test_the_median_ratio_by_hand() -> None:
    cleaner = Cleaner.of(Preparation(script=None, length_ratio=2), {}, ("zh", "bo"))
    cleaner = cleaner.measure_ratio([{"zh": "一", "bo": "ཀ" * n} for n in (2, 4, 9)])
    assert cleaner.ratio == 4
    reasons = {n: cleaner.drop_reason({"zh": "一", "bo": "ཀ" * n}) for n in (1, 2, 8, 9)}
    assert reasons[2] is reasons[8] is None
    assert reasons[1] == ("length_ratio", "bo to zh is 0.25 times the median") and reasons[9] is not None


REAL = [
    ("mitra_bo_zh/dev.jsonl", ("zh", "bo"), 1000),
    ("sib200_flores_bo_zh/train.jsonl", ("zh", "bo"), 701),
    ("sib200_flores_bo_zh/dev.jsonl", ("en", "bo"), 99),
    ("udhr_bo_zh/pairs.jsonl", ("zh", "bo"), 80),
]


@pytest.mark.parametrize(("file", "fields", "rows"), REAL)
def test_real_rows_are_all_accounted_for(shared: Path, tmp_path: Path, file: str, fields: Any, rows: int) -> None:
    one = {name: name for name in fields}
    wanted = CorpusRequest(
        str(shared / file), one, fields=fields, languages=one, prepare=Preparation(near_duplicates=0.9)
    )
    prepared = prepare(wanted, cache=tmp_path)
    assert prepared.report["read"] == rows == len(prepared.table) + len(dropped(prepared))
    assert sum(prepared.report["dropped"].values()) == len(dropped(prepared))
    assert prepared.report["kept"] > 0.45 * rows


def test_workers_change_nothing(shared: Path, tmp_path: Path) -> None:
    one = {"zh": "zh", "bo": "bo"}
    dev = CorpusRequest(
        str(shared / "mitra_bo_zh/dev.jsonl"), one, fields=("zh", "bo"), languages=one, prepare=Preparation()
    )
    dirty = tmp_path / "dirty.jsonl"
    lines = (shared / "mitra_bo_zh/dev.jsonl").read_text(encoding="utf-8").splitlines()
    dirty.write_text("\n".join([*lines, *lines[:50], *ROWS_AS_LINES]) + "\n", encoding="utf-8")
    held_out = prepare(dev, cache=tmp_path / "dev")
    wanted = dataclasses.replace(dev, source=str(dirty))
    alone, several = (prepare(wanted, [], tmp_path / f"c{n}", workers=n) for n in (0, 2))
    assert list(alone.table) == list(several.table) and alone.report == several.report
    assert dropped(alone) == dropped(several) and alone.report["dropped"]["duplicate"] == 51
    leaks = prepare(wanted, [held_out], tmp_path / "c3", workers=2).report["dropped"]["leak"]
    assert leaks == 1050


ROWS_AS_LINES = [json.dumps(row, ensure_ascii=False) for row in ROWS]


def test_optional_fields(tmp_path: Path) -> None:
    rows = [{"q": "问", "a": "答"}, {"q": "问二", "a": "答二", "x": ""}, {"q": "问三", "a": "答三", "x": "补充"}]
    source = jsonl(tmp_path / "t.jsonl", rows)
    columns = {"q": "q", "a": "a", "x": "x"}
    made = prepare(CorpusRequest(source, columns, frozenset({"x"}), fields=("q", "a", "x")), cache=tmp_path / "c")
    assert [row.get("x") for row in made.table] == [None, None, "补充"]
    with pytest.raises(ValueError, match="t.jsonl:1: no column 'x'"):
        prepare(CorpusRequest(source, columns, fields=("q", "a", "x")), cache=tmp_path / "c")


@pytest.mark.parametrize(
    ("language", "text", "kept"),
    [
        ("zh", "甲地 (Ellsworth Land) 在南部。", True),  # 2 foreign words of 7, 14 foreign letters of 19
        ("zh", "1905", True),  # no letters to classify
        ("zh", "23~28℃", True),
        ("zh", "30km", True),
        ("zh", "英文全称：Bank for Investment and Development of Vietnam", False),
        ("bo", "བོད་ Antananarivo", True),
        ("bo", "བོད་ Ellsworth Land", False),
        ("en", "The word 世界", True),
        ("en", "世界和平 now", False),
    ],
)
def test_the_script_filter_counts_words_not_letters(language: str, text: str, kept: bool) -> None:
    reason = Cleaner.of(Preparation(), {"text": language}).drop_reason({"text": text})
    assert (reason is None) == kept and (kept or reason[0] == "script")
