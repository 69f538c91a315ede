"""``semalign corpus`` on small files: table, JSON, page, and users' mistakes."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

from semalign_pl.__main__ import main

ROWS = [
    {"zh": "老师看书。", "bo": "དགེ་རྒན་གྱིས་དཔེ་ཆ་བལྟས།", "id": "a-1"},
    {"zh": "学生吃饭。", "bo": "སློབ་མས་ཁ་ལག་བཟས།", "id": "a-2"},
    {"zh": "老师看书。", "bo": "དགེ་རྒན་གྱིས་དཔེ་ཆ\u0f0cབལྟས།  ", "id": "a-3"},
    {"zh": "<b>医生</b>唱歌。", "bo": "སྨན་པས་གླུ་བླངས།", "id": "a-4"},
]
DEV = [ROWS[1] | {"id": "d-1"}, {"zh": "农民写信。", "bo": "ཞིང་པས་ཡི་གེ་བྲིས།", "id": "d-2"}]


def write(path: Path, rows: list) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return str(path)


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[str]:
    monkeypatch.chdir(tmp_path)
    bad = ["{broken", {"zh": "", "bo": "བོད།", "id": "a-6"}, {"zh": 5, "bo": "བོད།", "id": "a-7"}]
    return [write(Path("train.jsonl"), ROWS + bad), write(Path("dev.jsonl"), DEV)]


def numbers() -> dict:
    return json.loads(Path("runs/corpus/corpus.json").read_text(encoding="utf-8"))


def test_every_row_is_accounted_for(files, base, capsys) -> None:
    assert main(["corpus", *files, "--model", base, "--columns", "zh,bo"]) == 0
    train, dev = numbers()["files"]
    assert (train["read"], train["good"], train["bad"]["rows"]) == (7, 4, 3)
    assert sum(train["bad"]["reasons"].values()) == 3 and set(train["bad"]["reasons"]) == {
        "not JSON",
        "'zh', the field zh, is empty",
        "'zh', the field zh, is not text",
    }
    assert [message.split(": ")[0] for message in train["bad"]["first"]] == [
        f"train.jsonl:{line}" for line in (5, 6, 7)
    ]
    assert (dev["read"], dev["good"], dev["bad"]) == (2, 2, {"rows": 0, "reasons": {}, "first": []})
    shown = capsys.readouterr().out
    assert "7 read = 4 good + 3 bad" in shown and "train.jsonl:5: not JSON" in shown
    assert list(train["columns"]) == ["zh", "bo"] and train["left_out"] == {"id": 0}
    assert [train["columns"][name]["language"] for name in ("zh", "bo")] == ["zh", "bo"]


def test_duplicates_and_leaks(files, capsys) -> None:
    assert main(["corpus", *files, "--columns", "zh,bo"]) == 0
    result = numbers()
    train = result["files"][0]
    assert train["duplicates"]["rows"] == 1 and train["duplicates"]["share"] == 1 / 4
    (example,) = train["duplicates"]["examples"]
    assert example["times"] == 2 and example["ids"] == ["train.jsonl:1", "train.jsonl:3"]
    assert [train["columns"][name]["duplicates"]["rows"] for name in ("zh", "bo")] == [1, 1]
    (pair,) = result["leakage"]
    assert (pair["of"], pair["in"], pair["rows"]) == ("dev.jsonl", "train.jsonl", {"rows": 1, "share": 0.5})
    assert pair["columns"] == {"zh": {"rows": 1, "share": 0.5}, "bo": {"rows": 1, "share": 0.5}}
    assert pair["near"]["rows"] == 0  # equal rows are not counted again as near-duplicates
    assert {(e["of"], e["in"]) for e in pair["examples"]} == {("dev.jsonl:1", "train.jsonl:2")}
    assert "1 (50.0 %)" in capsys.readouterr().out
    assert result["model"] is None and train["columns"]["bo"]["tokens"] is None


def test_a_column_that_is_often_blank_is_left_out_and_said_so(files, capsys) -> None:
    """A row is bad if a counted column is blank; a label that few rows have must not make all other rows bad."""
    assert main(["corpus", files[0]]) == 0
    (train,) = numbers()["files"]
    assert list(train["columns"]) == ["bo"] and train["left_out"] == {"zh": 4 / 6, "id": 0}
    assert (train["read"], train["good"]) == (7, 6)
    shown = " ".join(capsys.readouterr().out.split())
    assert "columns not counted: zh (text in 66.7 % of the first rows), id" in shown


def test_near_leaks_whatever_the_order_of_files(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = [
        "alpha",
        "bravo",
        "charlie",
        "delta",
        "echo",
        "foxtrot",
        "golf",
        "hotel",
        "india",
        "juliet",
        "kilo",
        "lima",
    ]
    texts = [" ".join(words[(i * step) % 12] + str(i * step) for step in (1, 3, 5, 7, 11)) for i in range(30, 60)]
    train = write(Path("train.jsonl"), [{"en": text} for text in texts])
    leak = texts[7].replace("o", "u", 2)
    dev = write(
        Path("dev.jsonl"), [{"en": "Nothing of this is anywhere in the other file, not even a bit."}, {"en": leak}]
    )
    for order in ([train, dev], [dev, train]):
        assert main(["corpus", *order]) == 0
        (pair,) = numbers()["leakage"]
        assert (pair["of"], pair["in"]) == ("dev.jsonl", "train.jsonl")
        assert pair["columns"]["en"]["rows"] == 0 and pair["near"]["rows"] == 1
        (example,) = pair["near"]["examples"]
        assert (example["of"], example["in"]) == ("dev.jsonl:2", "train.jsonl:8") and example["similarity"] > 0.8
        assert example["in_row"] == {"en": texts[7]} and example["of_row"] == {"en": leak}


def test_columns_languages_limits_and_folder(files, base) -> None:
    flags = ["--columns", "source=zh,target=bo", "--languages", "zh-Hans,dz", "--limits", "40,8", "--out", "a/b"]
    assert main(["corpus", *files, "--model", base, *flags]) == 0
    result = json.loads(Path("a/b/corpus.json").read_text(encoding="utf-8"))
    assert result["limits"] == [8, 40] and result["model"] == base
    columns = result["files"][0]["columns"]
    assert {name: (c["column"], c["language"]) for name, c in columns.items()} == {
        "source": ("zh", "zh-Hans"),
        "target": ("bo", "dz"),
    }
    assert list(columns["target"]["tokens"]["longer_than"]) == ["8", "40"]


def test_json_has_these_keys(files, base) -> None:
    """Users' scripts read this file: they break if a key is removed or renamed."""
    assert main(["corpus", *files, "--model", base]) == 0
    result = numbers()
    assert set(result) == {"model", "limits", "files", "leakage", "preparation"}
    keys = {"name", "file", "read", "good", "bad", "columns", "duplicates", "samples", "left_out"}
    keys |= {"lines", "blank", "header", "continued", "skipped", "empty"}
    assert keys <= set(result["files"][0])
    lengths = {"total", "mean", "p5", "p50", "p95", "p99", "max"}
    column = result["files"][0]["columns"]["bo"]
    assert set(column["characters"]) == set(column["units"]) == lengths
    assert set(column["tokens"]) == lengths | {"per_unit", "per_character", "fragments", "unknown", "longer_than"}
    assert {"language", "unit", "scripts", "wholly_in_language", "duplicates"} <= set(column)
    assert set(result["leakage"][0]) == {"of", "in", "fields", "rows", "columns", "examples", "near", "dropped"}


class Page(HTMLParser):
    """Headings and pictures of a page, and anything it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.headings, self.paths, self.loads, self.open = [], 0, [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs) -> None:
        self.open.append(tag)
        self.paths += tag == "path"
        self.loads += [value for name, value in attrs if name in ("src", "href", "srcset", "data") and value[0] != "#"]
        self.loads += [tag] if tag in ("script", "link", "iframe") else []

    def handle_data(self, data) -> None:
        if self.open and self.open[-1] in ("h2", "h3"):
            self.headings.append(data.strip())
            self.open.append("")


def test_the_page_has_everything_and_loads_nothing(files, base) -> None:
    assert main(["corpus", *files, "--model", base, "--columns", "zh,bo"]) == 0
    text = Path("runs/corpus/corpus.html").read_text(encoding="utf-8")
    page = Page(text)
    for heading in ("Files", "Rows in common", "train.jsonl", "dev.jsonl", "Samples", "Bad rows", "zh", "bo"):
        assert heading in page.headings, heading
    assert "Rows that occur more than once" in page.headings
    assert page.paths >= 2 * 2 * 3 and not page.loads and "url(" not in text and "@import" not in text
    assert "&lt;b&gt;医生" in text and "<b>医生" not in text and "སྨན་པས་གླུ་བླངས།" in text
    assert "7 read = 4 good + 3 bad" in text


def test_limits_are_drawn(files, base) -> None:
    assert main(["corpus", files[0], "--model", base, "--columns", "zh,bo", "--limits", "6,9999"]) == 0
    text = Path("runs/corpus/corpus.html").read_text(encoding="utf-8")
    assert text.count('class="limit"') == 2 and text.count("further right: 9999") == 2


def test_many_files_get_a_line_each(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    names = []
    for number in range(10):
        Path(f"part{number}").mkdir()
        names.append(
            write(Path(f"part{number}/data.jsonl"), [{"en": f"This is row {number}."}, {"en": "The same row."}])
        )
    assert main(["corpus", *names]) == 0
    shown = capsys.readouterr().out
    assert all(shown.count(f"part{number}/data.jsonl") >= 1 for number in range(10)) and "45 pairs" in shown
    assert "letters by script" not in shown and re.search(r"all +20 +20 +20 +0 +0 +0", shown)
    assert len(numbers()["leakage"]) == 45


@pytest.mark.parametrize(
    ("name", "text", "columns"),
    [
        ("lines.txt", "བོད་ཡིག།\nདེབ།\n", {"text": "bo"}),
        ("pairs.tsv", "zh\tbo\tscore\n中文\tབོད་ཡིག།\t0.5\n书\tདེབ།\t1\n", {"zh": "zh", "bo": "bo"}),
        ("words.csv", "word,count\napple,3\npear,4\n", {"word": "en"}),
        ("rows.json", '[{"bo": "བོད་ཡིག།", "n": 1}, {"bo": "དེབ།", "n": 2}]', {"bo": "bo"}),
        ("greek.jsonl", '{"el": "Ελληνικά γράμματα"}\n{"el": "και άλλα"}\n', {"el": "?"}),
    ],
)
def test_formats_and_their_columns(name, text, columns, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path(name).write_text(text, encoding="utf-8")
    assert main(["corpus", name]) == 0
    (file,) = numbers()["files"]
    assert {field: column["language"] for field, column in file["columns"].items()} == columns
    assert (file["read"], file["good"]) == (2, 2)


def test_parquet_with_a_column_called_text(tmp_path, monkeypatch) -> None:
    import pyarrow as pa
    from pyarrow import parquet

    monkeypatch.chdir(tmp_path)
    parquet.write_table(pa.table({"text": ["中文", "书"], "bo": ["བོད་ཡིག།", "དེབ།"], "n": [1, 2]}), "rows.parquet")
    assert main(["corpus", "rows.parquet"]) == 0
    assert list(numbers()["files"][0]["columns"]) == ["text", "bo"]


def test_a_table_without_a_header_is_doubted(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("syllables.tsv").write_text("པ\t109111\nདང\t65768\n", encoding="utf-8")
    assert main(["corpus", "syllables.tsv"]) == 0
    assert "a column is called 109111" in " ".join(capsys.readouterr().out.split())


def test_a_recipe_names_files_columns_and_model(files, base, capsys) -> None:
    write(Path("clean.jsonl"), ROWS)
    recipe = {
        "model": {
            "class_path": "SFTModule",
            "init_args": {"base": base, "weights": "fp32", "max_prompt_tokens": 77, "max_new_tokens": 33},
        },
        "data": {
            "class_path": "CorpusDataModule",
            "init_args": {"train": "clean.jsonl", "test": "dev.jsonl", "prepare": {}},
        },
    }
    Path("recipe.yaml").write_text(yaml.safe_dump(recipe))
    assert main(["corpus", "--config", "recipe.yaml", "--out", "out"]) == 0
    result = json.loads(Path("out/corpus.json").read_text(encoding="utf-8"))
    assert result["model"] == base and result["limits"] == [33, 77]
    assert [file["file"] for file in result["files"]] == ["clean.jsonl", "dev.jsonl"]
    assert [list(file["columns"]) for file in result["files"]] == [["zh", "bo"]] * 2
    test, train = result["preparation"]
    assert (test["part"], test["read"], test["kept"], test["dropped"]) == ("test", 2, 2, {})
    assert train["read"] == 4 == train["kept"] + sum(train["dropped"].values())
    assert train["dropped"] == {"leak": 1, "duplicate": 1}
    listed = [json.loads(line) for line in Path(train["listed_in"]).read_text(encoding="utf-8").splitlines()]
    assert sorted(row["reason"] for row in listed) == ["duplicate", "leak"]
    assert "4 rows read, 2 kept; dropped 1 leak, 1 duplicate" in capsys.readouterr().out

    other = ["--data.init_args.train", "train.jsonl", "--data.init_args.columns", "{zh: zh, bo: bo}"]
    assert main(["corpus", "--config", "recipe.yaml", *other]) == 0
    assert "preparing train stops: train.jsonl:5: not JSON" in capsys.readouterr().out
    assert numbers()["files"][0]["bad"]["rows"] == 3


MISTAKES = [
    ([], "no file is named"),
    (["none.jsonl"], "none.jsonl: no such file in"),
    (
        ["train.jsonl", "--columns", "zh,tibetan"],
        "--columns: train.jsonl has no column 'tibetan'; its columns are zh, bo, id",
    ),
    (["ids.jsonl"], "ids.jsonl: no column holds text (they are id, score)"),
    (["empty.jsonl"], "empty.jsonl: no rows in it"),
    (["broken.jsonl"], "broken.jsonl:1: not JSON"),
    (["train.jsonl", "--model", "./none"], "--model: there is no folder ./none"),
    (["train.jsonl", "--model", "folder"], "--model: no tokenizer can be loaded from 'folder'"),
    (["train.jsonl", "--limits", "256,many"], "--limits: '256,many' are no lengths"),
    (["train.jsonl", "--limits", "0"], "--limits: '0' are no lengths"),
    (["train.jsonl", "--languages", "bo"], "--languages: 'bo' names no column"),
    (
        ["train.jsonl", "--columns", "zh,bo", "--languages", "zh"],
        "--languages: 'zh' does not name one for each of zh, bo",
    ),
    (["train.jsonl", "--columns", "zh,bo", "--languages", "zh,xx"], "language: 'xx' is not known"),
    (["train.jsonl", "--columns", "zh,"], "--columns: 'zh,' has an empty part"),
    (["train.jsonl", "--columns", "zh,zh"], "--columns: zh is named twice"),
    (["train.jsonl", "--modle", "x"], "--modle: there is no such key"),
    (["train.jsonl", "--model"], "--model: the flag needs a value"),
    (["--config", "configs/quickstart/cold_start.yaml", "--columns", "zh"], "a recipe names its own"),
    (["--config", "none.yaml"], "--config: there is no file"),
    (["train.jsonl", "--out", "dev.jsonl"], "--out: dev.jsonl is a file"),
]


@pytest.mark.parametrize(("flags", "answer"), MISTAKES, ids=[" ".join(flags) for flags, _ in MISTAKES])
def test_mistakes_get_one_line(flags, answer, files, capsys) -> None:
    write(Path("ids.jsonl"), [{"id": "1-2", "score": 5}])
    Path("empty.jsonl").write_text("")
    Path("broken.jsonl").write_text("{\n")
    Path("folder").mkdir()
    assert main(["corpus", *flags]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("semalign: error: ") and answer in said


def test_its_name_is_guessed(capsys) -> None:
    assert main(["corpsu"]) == 2 and "did you mean corpus?" in capsys.readouterr().err
    assert main([]) == 0 and "\n  corpus " in capsys.readouterr().out
