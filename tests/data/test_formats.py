"""Each format: its content, the rows that are read, and how content of different kinds is told apart."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import pytest

from semalign_pl.data.reading.formats import BadRow
from semalign_pl.data.reading.formats.account import LineCounter
from semalign_pl.data.reading.formats.hub_datasets import hub, hub_revision
from semalign_pl.data.reading.sources import content_key, read, stream

IDENTITY = {"zh": "zh", "bo": "bo"}
ROWS = [{"zh": "一", "bo": "ཀ"}, {"zh": "二", "bo": "ཁ"}]


def put(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def texts(source: str, columns: dict[str, str] = IDENTITY) -> list[tuple[str, ...]]:
    return [tuple(row.values()) for row in read(source, columns).values()]


@pytest.mark.parametrize("indent", [None, 0, 3])
@pytest.mark.parametrize("rows", [1, 2, 3000])
def test_an_array_of_objects(tmp_path: Path, rows: int, indent: int | None) -> None:
    wanted = [{"zh": f"一{i} 🏔", "bo": "ཀ" * (i % 90 + 1), "more": [i, {"a": None}]} for i in range(rows)]
    path = put(tmp_path / "c.json", json.dumps(wanted, ensure_ascii=False, indent=indent))
    assert texts(path) == [(row["zh"], row["bo"]) for row in wanted]
    assert list(read(path, IDENTITY)) == [f"c.json:{i + 1}" for i in range(rows)]


def test_an_array_fault_names_its_line_far_inside(tmp_path: Path) -> None:
    lines = [json.dumps({"zh": "一" * 50, "bo": "ཀ"}, ensure_ascii=False) for _ in range(2000)]
    lines[1500] = lines[1500].replace(":", "")
    path = put(tmp_path / "c.json", "[\n" + ",\n".join(lines) + "\n]")
    rows = stream(path, IDENTITY)
    with pytest.raises(ValueError, match=r"c\.json:1502: not JSON"):
        assert sum(1 for _ in rows) < 0
    with gzip.open(tmp_path / "d.json.gz", "wt", encoding="utf-8") as file:
        file.write("[" + ",".join([lines[0]] * 2000) + "]")
    assert len(texts(str(tmp_path / "d.json.gz"))) == 2000


@pytest.mark.parametrize("indent", [None, 2])
def test_squad(tmp_path: Path, indent: int | None) -> None:
    def question(id: str, *answers: str) -> dict[str, object]:
        return {"id": id, "question": f"{id}？", "answers": [{"text": a, "answer_start": 0} for a in answers]}

    paragraphs = [{"context": "甲", "qas": [question("a", "1", "2"), question("b", "3")]}, {"context": "乙", "qas": []}]
    data = [
        {"paragraphs": paragraphs, "title": "T"},
        {"title": "U", "paragraphs": [{"context": "丙", "qas": [question("c")]}]},
    ]
    path = put(tmp_path / "q.json", json.dumps({"version": "v", "data": data}, ensure_ascii=False, indent=indent))
    columns = {name: name for name in ("id", "title", "context", "question", "answer")}
    first, second, third = (row for _, row in stream(path, columns))
    assert first == {"id": "a", "title": "T", "context": "甲", "question": "a？", "answer": "1"}
    assert second == first | {"id": "b", "question": "b？", "answer": "3"}
    assert isinstance(third, BadRow) and "'answer', the field answer, is empty" in third.message
    del columns["answer"]
    assert [row["context"] for row in read(path, columns).values()] == ["甲", "甲", "丙"]


def test_a_header_may_be_a_comment_and_its_first_name_missing(tmp_path: Path) -> None:
    path = put(tmp_path / "a.tsv", "# zh\tbo\n一\tཀ\n# 二\tཁ\n")
    assert texts(path) == [("一", "ཀ"), ("# 二", "ཁ")]
    assert texts(put(tmp_path / "b.csv", ",zh,bo\n0,一,ཀ\n"), {"n": "", "zh": "zh"}) == [("0", "一")]


def test_pairs_of_plain_text(tmp_path: Path) -> None:
    put(tmp_path / "t.zh", "\ufeff 一\t\n\n二\r\n")
    (tmp_path / "t.bo.txt").write_bytes("ཀ\n\nཁ".encode())
    (tmp_path / "t.bo").write_bytes("ཀ\n\nཁ".encode())
    source = str(tmp_path / "t.{zh,bo}")
    assert read(source, IDENTITY) == {
        "t.{zh,bo}:1": {"zh": " 一\t", "bo": "ཀ"},
        "t.{zh,bo}:3": {"zh": "二", "bo": "ཁ"},
    }
    for name, text in (("zh", "一\n二\n"), ("bo", "ཀ\nཁ\n"), ("en", "a\nb\n")):
        (tmp_path / f"{name}.txt.gz").write_bytes(gzip.compress(text.encode()))
    three = str(tmp_path / "{zh,bo,en}.txt.gz")
    assert texts(three, {"a": "en", "b": "zh"}) == [("a", "一"), ("b", "二")]


def test_a_file_with_braces_in_its_name_is_that_file(tmp_path: Path) -> None:
    assert texts(put(tmp_path / "a{b,c}[1]*.csv", "zh,bo\n一,ཀ\n")) == [("一", "ཀ")]


def test_tmx(tmp_path: Path) -> None:
    text = """<?xml version="1.0"?>
    <tmx version="1.4"><header srclang="zh-CN"/><body>
      <tu tuid="1"><note>no</note><prop type="x">no</prop>
        <tuv xml:lang="ZH_cn"><prop>no</prop><seg>a<bpt i="1">&lt;b></bpt>b<hi>c<ph><sub>no</sub></ph></hi><ept>x</ept>
d &amp; &#xf40;</seg></tuv>
        <tuv xml:lang="en"><seg>1</seg></tuv><tuv xml:lang="en"><seg>2</seg></tuv>
        <tuv lang="BO"><seg> ཀ<!-- no --><?no?>ཁ<it pos="begin"/><ut>no</ut> </seg></tuv></tu>
    </body></tmx>"""
    path = put(tmp_path / "m.tmx", text)
    assert texts(path, {"zh": "zh-CN", "bo": "bo"}) == [("abc\nd & ཀ", " ཀཁ ")]
    named = put(tmp_path / "n.tmx", text.replace("<tmx ", "<tmx xmlns='http://www.lisa.org/tmx14' "))
    assert texts(named, {"bo": "Bo"}) == [(" ཀཁ ",)]
    with pytest.raises(ValueError, match=r"m.tmx:1: the unit on line 3 has 'en' twice"):
        read(path, {"en": "en"})


def test_a_pattern_reads_files_in_order_and_keeps_their_names(tmp_path: Path) -> None:
    for folder, text in (("b", "一"), ("a", "二")):
        (tmp_path / folder).mkdir()
        put(tmp_path / folder / "t.csv", f"zh,bo\n{text},ཀ\n")
    (tmp_path / "a" / "more.csv").mkdir()
    put(tmp_path / "a" / "u.csv", "bo,zh\nཀ,三\n")
    assert [(id, row["zh"]) for id, row in read(str(tmp_path / "a" / "*.csv"), IDENTITY).items()] == [
        ("t.csv:2", "二"),
        ("u.csv:2", "三"),
    ]
    assert list(read(str(tmp_path / "*" / "t.csv"), IDENTITY)) == ["a/t.csv:2", "b/t.csv:2"]


WHERE = [
    # where, remaining rows
    ({"split": "train"}, [0, 3]),
    ({"split": ["train", "dev"]}, [0, 1, 3]),
    ({"split": "train", "n": 1}, [0]),
    ({"news": False}, [1]),
    ({"n": [2, 3]}, [1, 2]),
]


@pytest.mark.parametrize("name", ["c.jsonl", "c.csv", "c.parquet"])
@pytest.mark.parametrize(("where", "wanted"), WHERE)
def test_where(tmp_path: Path, name: str, where: dict[str, object], wanted: list[int]) -> None:
    rows = [
        {"zh": f"{i}", "bo": bo, "split": split, "n": i + 1, "news": i != 1}
        for i, (bo, split) in enumerate([("ཀ", "train"), ("ཀ", "dev"), ("", "test"), ("ཀ", "train")])
    ]
    path = tmp_path / name
    if name == "c.parquet":
        import pyarrow
        from pyarrow.parquet import write_table

        write_table(pyarrow.Table.from_pylist(rows), path)
    elif name == "c.jsonl":
        put(path, "".join(json.dumps(row) + "\n" for row in rows))
    else:
        cells = [",".join(json.dumps(v) if not isinstance(v, str) else v for v in row.values()) for row in rows]
        put(path, "\n".join([",".join(rows[0]), *cells]))
    found = list(stream(str(path), IDENTITY, where=where))
    assert [
        int(row["zh"]) if isinstance(row, dict) else row.number - (name == "c.csv") - 1 for _, row in found
    ] == wanted
    assert [isinstance(row, BadRow) for _, row in found] == [i == 2 for i in wanted]


def test_where_that_finds_nothing(tmp_path: Path) -> None:
    path = put(tmp_path / "c.jsonl", '{"zh": "一", "bo": "ཀ", "split": "dev"}\n{"zh": "二", "bo": "ཁ"}\n')
    with pytest.raises(ValueError, match="no column 'splt' for where; the columns are zh, bo.*; name one"):
        list(stream(path, IDENTITY, where={"splt": "dev"}))
    with pytest.raises(ValueError, match="no row has split train or x; name a value"):
        list(stream(path, IDENTITY, where={"split": ["x", "train"]}))
    assert [id for id, _ in stream(path, IDENTITY, where={"split": "dev"})] == ["c.jsonl:1"]


def test_the_key_follows_content(tmp_path: Path) -> None:
    first = put(tmp_path / "a.jsonl", '{"zh": "一"}\n')
    key = content_key(first)
    assert content_key(put(tmp_path / "b.jsonl", '{"zh": "一"}\n')) == key == content_key(first, split="dev")
    assert content_key(put(tmp_path / "b.json", '{"zh": "一"}\n')) != key
    put(tmp_path / "a.jsonl", '{"zh": "二"}\n')
    os.utime(first, (1, 1))
    assert content_key(first) != key

    pair = str(tmp_path / "t.{zh,bo}")
    keys = set()
    for zh, bo in (("一\n二\n", "ཀ\n"), ("一\n", "二\nཀ\n"), ("二\nཀ\n", "一\n"), ("一\n二\nཀ\n", "")):
        put(tmp_path / "t.zh", zh)
        put(tmp_path / "t.bo", bo)
        keys |= {content_key(pair), content_key(str(tmp_path / "t.{bo,zh}"))}
    assert len(keys) == 6  # the second and the third have the same key, as they are mirror images
    pattern = str(tmp_path / "*.jsonl")
    key = content_key(pattern)
    put(tmp_path / "c.jsonl", '{"zh": "三"}\n')
    assert content_key(pattern) != key
    with pytest.raises(ValueError, match="no such file"):
        content_key(str(tmp_path / "none.jsonl"))


def test_the_key_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    put(folder / "train.csv", "zh,bo\n一,ཀ\n")
    key = content_key(str(folder))
    assert content_key(str(folder)) == key != content_key(str(folder), split="validation")
    put(folder / "train.csv", "zh,bo\n二,ཀ\n")
    assert content_key(str(folder)) != key


def test_a_hub_dataset_is_read_by_way_of_its_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    folder = tmp_path / "owner" / "name"  # `load_dataset` takes such a folder for a dataset of the hub
    folder.mkdir(parents=True)
    put(folder / "train.jsonl", "".join(json.dumps(row | {"n": 1}) + "\n" for row in ROWS))
    put(folder / "validation.jsonl", json.dumps(ROWS[0]) + "\n")
    dataset = (str(folder), str(folder), None)
    counter = LineCounter()
    assert [item[:2] for item in hub(*dataset, "train", {"zh", "bo"}, counter)] == list(enumerate(ROWS, 1))
    assert counter.lines == 2
    revision = hub_revision(*dataset, "train")
    assert revision == hub_revision(*dataset, "train") != hub_revision(*dataset, "validation")
    put(folder / "train.jsonl", json.dumps(ROWS[1]) + "\n")
    assert hub_revision(*dataset, "train") != revision


def test_real_corpora(shared: Path) -> None:
    """All rows of all sets; the two bad ones are questions without text in CMRC 2018's trial set."""
    pairs, article = IDENTITY, {"article": "body", "headline": "title"}
    question = {name: name for name in ("id", "title", "context", "question", "answer")}
    sets = [
        ("mitra_bo_zh/dev.jsonl", pairs, None, (1000, 0)),
        ("udhr_bo_zh/pairs.jsonl", pairs, None, (80, 0)),
        ("sib200_flores_bo_zh/*.jsonl", pairs, None, (800, 0)),
        ("nanhai_headlines_bo/headlines.jsonl", article, None, (635, 0)),
        ("nanhai_headlines_bo/headlines.jsonl", article, {"news": True}, (407, 0)),
        ("cmrc2018/cmrc2018_trial.json", question, None, (1000, 2)),
        ("cmmlu/dev/*.csv", {name: name for name in ("", "Question", "A", "B", "C", "D", "Answer")}, None, (335, 0)),
        ("tibetan_wordlists/botok_particles.tsv", {"form": "form", "pos": "pos"}, None, (67, 0)),
    ]
    for source, columns, where, counts in sets:
        rows = [row for _, row in stream(str(shared / source), columns, where=where)]
        bad = sum(isinstance(row, BadRow) for row in rows)
        assert (len(rows) - bad, bad) == counts, source
    with pytest.raises(ValueError, match="no column 'syllable'.*its first line must name them"):
        read(str(shared / "tibetan_wordlists/syllables_mitra.tsv"), {"syllable": "syllable"})


def test_columns_by_number_where_there_is_no_header(tmp_path: Path) -> None:
    path = tmp_path / "words.tsv"
    path.write_text("ཀ\t5\nཁ\t7\n", encoding="utf-8")
    assert dict(stream(str(path), {"bo": "1", "count": "2"})) == {
        "words.tsv:1": {"bo": "ཀ", "count": "5"},
        "words.tsv:2": {"bo": "ཁ", "count": "7"},
    }
    with pytest.raises(ValueError, match=r"no column '3' for the field x; the columns are 1, 2;"):
        list(stream(str(path), {"x": "3"}))
    path.write_text("1\t2\nཀ\tཁ\n", encoding="utf-8")  # a header of numbers
    assert list(dict(stream(str(path), {"bo": "1"})).values()) == [{"bo": "ཀ"}]
