"""``semalign corpus`` counts exactly what ``prepare: {}`` drops: duplicates, and rows of another file."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.drop_counts import compare_drops

from semalign_pl.__main__ import main
from semalign_pl.data.cleaning.preparation import Preparation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.inspection import leaks
from semalign_pl.inspection.inspect import inspect

LONG = "The monastery on the hill was founded in the fifteenth century by a scholar"


def inspected(*files: str, columns: Sequence[str] = (), languages: Mapping[str, str] | None = None) -> Any:
    requests = [CorpusRequest(file, {name: name for name in columns}, languages=languages or {}) for file in files]
    return inspect(requests, None, [256])


def dropped(request: CorpusRequest, tmp_path: Path, *evaluation: CorpusRequest) -> dict[str, int]:
    """Rows that preparation drops, with the columns and languages that ``semalign corpus`` chose."""

    def prepared(one: CorpusRequest, filters: bool, against: Sequence[Any] = ()) -> Any:
        request = dataclasses.replace(one, prepare=Preparation(), filters=filters, bad_rows="quarantine")
        return prepare(request, against, tmp_path / "cache")

    against = [prepared(one, False) for one in evaluation]
    try:
        return prepared(request, True, against).report["dropped"]
    except ValueError as error:  # no row is left
        assert "none of its" in str(error)
        counts = re.findall(r"([\d,]+) ([a-z ]+)", str(error).partition("is left: ")[2].partition("; change")[0])
        return {reason.replace(" ", "_"): int(count.replace(",", "")) for count, reason in counts}


def compare(files: Sequence[str], tmp_path: Path, **chosen: Any) -> tuple[Any, list[Any]]:
    """Compare every count of duplicates and leaks with the rows that preparation drops."""
    result, counted = inspected(*files, **chosen)
    requests = [file.corpus.request for file in counted]
    for file, request in zip(result["files"], requests, strict=True):
        assert file["duplicates"]["rows"] == dropped(request, tmp_path).get("duplicate", 0), file["name"]
    by_name = dict(zip([file["name"] for file in result["files"]], requests, strict=True))
    assert len(result["leakage"]) == len(files) * (len(files) - 1) // 2
    for pair in result["leakage"]:
        found = dropped(by_name[pair["in"]], tmp_path, by_name[pair["of"]])
        assert pair["dropped"]["rows"] == found.get("leak", 0), (pair["of"], pair["in"])
    return result, counted


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> str:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def test_five_rows_of_which_two_repeat(tmp_path) -> None:
    """Equal except for case, punctuation and spellings that the normal form unites."""
    rows = [
        {"zh": "老师看书。", "bo": "དགེ་རྒན་གྱིས་དཔེ་ཆ་བལྟས།"},
        {"zh": "老师看书！", "bo": "དགེ་རྒན་གྱིས་དཔེ་ཆ་བལྟས"},
        {"zh": "学生吃饭。", "bo": "སློབ་མས་ཁ་ལག་བཟས།"},
        {"zh": "学生，吃饭", "bo": "སློབ་མས་ཁ་ལག་བཟས།།"},
        {"zh": "医生唱歌。", "bo": "སྨན་པས་གླུ་བླངས།"},
    ]
    result, _ = compare([write(tmp_path / "rows.jsonl", rows)], tmp_path)
    (file,) = result["files"]
    assert file["duplicates"]["rows"] == 2 and file["columns"]["bo"]["duplicates"]["rows"] == 2
    (first, second) = file["duplicates"]["examples"]
    assert first["ids"] == ["rows.jsonl:1", "rows.jsonl:2"] and second["ids"] == ["rows.jsonl:3", "rows.jsonl:4"]


def test_rows_that_a_filter_drops_are_no_duplicates(tmp_path) -> None:
    rows = [{"zh": text, "bo": "བོད་ཡིག་ནི་ཡག་པོ་རེད།"} for text in ("藏文很好。", "藏文很好！", "Tibetan")]
    rows += [{"zh": "Tibetan!", "bo": "བོད་ཡིག་ནི་ཡག་པོ་རེད།"}]
    result, _ = compare([write(tmp_path / "rows.jsonl", rows)], tmp_path, columns=("zh", "bo"), languages={"zh": "zh"})
    assert result["files"][0]["duplicates"]["rows"] == 1


TRAIN = [
    {"en": LONG, "zh": "山上的寺院建于十五世纪。"},
    {"en": "Yes", "zh": "是"},
    {"en": LONG.upper() + "!", "zh": "另一句话，与此无关，只是举例。"},
    {"en": "Its library holds old manuscripts of every kind and size", "zh": "寺院的藏书楼里有三千多卷古书。"},
    {"en": LONG.replace("hill", "rock"), "zh": "山上的寺院建于十五世纪初年。"},
    {"en": "Nothing like it anywhere at all", "zh": "完全不同的一行文字，与别的无关。"},
]
DEV = [
    {"en": LONG, "zh": "山上的寺院建于十五世纪。"},
    {"en": "yes!", "zh": "是。"},
    {"en": "Yes", "zh": "不"},
    {"en": "In the library there are three thousand books", "zh": "寺院的藏书楼里有三千多卷古书"},
]


def test_leaks_as_a_whole_and_by_a_text(tmp_path) -> None:
    files = [write(tmp_path / "train.jsonl", TRAIN), write(tmp_path / "dev.jsonl", DEV)]
    result, _ = compare(files, tmp_path, columns=("en", "zh"))
    (pair,) = result["leakage"]
    assert (pair["of"], pair["in"], pair["fields"]) == ("dev.jsonl", "train.jsonl", ["en", "zh"])
    # Rows 1 and 2 are complete in train; 3 has a short text of train, which is not a leak; 4 has a long one.
    assert pair["rows"]["rows"] == 2
    assert {field: found["rows"] for field, found in pair["columns"].items()} == {"en": 2, "zh": 3}
    assert pair["near"]["rows"] == 0 and pair["dropped"]["rows"] == 4


def test_files_without_a_column_in_common_are_compared_by_all_texts(tmp_path) -> None:
    """Such as the file of a probe, or the test corpus of another task."""
    dev = [
        {"question": LONG.lower(), "answer": "Yes, it was built by one of them"},
        {"question": "Who?", "answer": "I"},
    ]
    files = [write(tmp_path / "train.jsonl", TRAIN), write(tmp_path / "dev.jsonl", dev)]
    result, _ = compare(files, tmp_path)
    (pair,) = result["leakage"]
    assert pair["fields"] == ["question", "answer"] and pair["rows"] is None
    assert pair["columns"]["question"]["rows"] == 1 and pair["dropped"]["rows"] == 2


def test_long_files_are_compared_by_hashes_with_the_same_result_but_for_near_ones(tmp_path, monkeypatch) -> None:
    files = [write(tmp_path / "train.jsonl", TRAIN), write(tmp_path / "dev.jsonl", DEV)]
    indexed = inspected(*files, columns=("en", "zh"))[0]["leakage"][0]
    monkeypatch.setattr(leaks, "INDEXED_ROWS", 0)
    result, _ = compare(files, tmp_path, columns=("en", "zh"))
    assert result["leakage"][0] == indexed | {"near": None} and indexed["near"]["rows"] == 0


CORPORA = {
    "mitra": ("mitra_bo_zh/dev.jsonl", "mitra_bo_zh/train.jsonl"),
    "sib200": ("sib200_flores_bo_zh/train.jsonl", "sib200_flores_bo_zh/dev.jsonl"),
    "udhr": ("udhr_bo_zh/pairs.jsonl",),
    "headlines": ("nanhai_headlines_bo/headlines.jsonl", "udhr_bo_zh/pairs.jsonl"),
    "cmrc": ("cmrc2018/cmrc2018_trial.json", "english_choices/xquad_en.json"),
    "choices": ("english_choices/copa.jsonl", "english_choices/blimp.jsonl"),
    "wordlists": ("tibetan_wordlists/botok_particles.tsv", "tibetan_wordlists/syllables_nanhai.tsv"),
    "interface": ("en_dz_ui/*.jsonl",),
    "cmmlu": ("cmmlu/dev/agronomy.csv", "cmmlu/dev/anatomy.csv", "cmmlu/dev/ancient_chinese.csv", "cmmlu/dev/*.csv"),
}
SLICE = 1500
"""Rows of a long file."""


@pytest.mark.parametrize("names", CORPORA.values(), ids=CORPORA)
def test_counts_are_equal_on_every_real_corpus(names, shared, tmp_path) -> None:
    files = []
    for name in names:
        path = shared / name
        if path.suffix == ".jsonl" and "*" not in name:
            with path.open(encoding="utf-8") as lines:
                text = "".join(itertools.islice(lines, SLICE))
            path = tmp_path / name.replace("/", "_")
            path.write_text(text, encoding="utf-8")
        files.append(str(path))
    result, counted = compare(files, tmp_path)
    names = [file["name"] for file in result["files"]]
    for file, one in zip(result["files"], counted, strict=True):
        against = [counted[names.index(name)].corpus.request for name in file["prepare"]["against"]]
        compare_drops(file, one.corpus.request, tmp_path / "cache", against)


def test_near_duplicates_and_further_files_of_a_recipe_are_counted_alike(shared: Path, tmp_path: Path) -> None:
    one = {"zh": "zh", "bo": "bo"}
    lines = (shared / "mitra_bo_zh/dev.jsonl").read_text(encoding="utf-8").splitlines()
    changed = [line.replace("།", "་གསུངས།", 1) for line in lines[:40]]
    train = tmp_path / "train.jsonl"
    train.write_text("\n".join([*lines[:200], *changed, '{"zh": "only Latin", "bo": "བོད།"}']) + "\n", encoding="utf-8")
    against = write(tmp_path / "probe.jsonl", [{"question": json.loads(lines[150])["zh"]}])
    settings = Preparation(near_duplicates=0.8, duplicates=False, against=[against])
    request = CorpusRequest(
        str(train), one, fields=("zh", "bo"), languages=one, pair=("zh", "bo"), prepare=settings, bad_rows="quarantine"
    )
    result, _ = inspect([request], None, [256], splits=["train"])
    counts = result["files"][0]["prepare"]
    report = prepare(request, cache=tmp_path / "cache").report
    assert (counts["read"], counts["kept"], counts["dropped"]) == (report["read"], report["kept"], report["dropped"])
    assert counts["dropped"]["near_duplicate"] >= 10 and counts["dropped"]["leak"] == counts["dropped"]["script"] == 1


@pytest.mark.parametrize(
    ("names", "sizes", "splits"),
    [
        (["a/train.jsonl", "dev/b.jsonl"], [1, 9], ["train", "test"]),  # the folder's name tells nothing
        (["dev.jsonl", "my-train.jsonl", "val_2.tsv"], [9, 1, 1], ["validation", "train", "validation"]),
        (["one.jsonl", "two.jsonl", "three.jsonl"], [3, 9, 9], ["test", "train", "test"]),
        (["test.jsonl", "pairs.jsonl"], [9, 1], ["test", "train"]),
        (["dev.jsonl"], [9], ["train"]),
        (["contest.jsonl", "latest.csv"], [1, 2], ["test", "train"]),  # "test" is no word of these
        ([], [], []),
    ],
)
def test_splits_are_inferred(names: list[str], sizes: list[int], splits: list[str]) -> None:
    assert leaks.infer_splits(names, sizes) == splits


def test_splits_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "one.jsonl", TRAIN)
    write(tmp_path / "two.jsonl", DEV)

    def run(*flags: str) -> list[dict[str, Any]]:
        assert main(["corpus", "one.jsonl", "two.jsonl", "--columns", "en,zh", *flags]) == 0
        return json.loads(Path("runs/corpus/corpus.json").read_text(encoding="utf-8"))["files"]

    assert [file["prepare"]["split"] for file in run()] == ["train", "test"]
    one, two = run("--splits", "validation,train")
    assert (one["prepare"]["against"], two["prepare"]["against"]) == ([], ["one.jsonl"])
    assert two["prepare"]["dropped"]["leak"] >= 3 and "leak" not in one["prepare"]["dropped"]
    capsys.readouterr()
    for wrong in ("train", "train,dev", "train,test,test"):
        assert main(["corpus", "one.jsonl", "two.jsonl", "--splits", wrong]) == 2
        assert f"--splits: '{wrong}' is not one of train, validation, test for each of the 2 files" in (
            capsys.readouterr().err
        )


def test_what_is_dropped_is_shown_with_an_example(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"zh": f"第{i}句话，写得很好。", "bo": f"ཚིག་{i}་འདི་ཡག་པོ་བྲིས་འདུག"} for i in range(30)]
    rows[4] = {"zh": "This is English", "bo": "དབྱིན་ཡིག་རེད།"}
    rows[9] = {"zh": "长", "bo": "རིང་པོ་" * 30}
    rows[12]["bo"] += " \ue000ABA\ufffd"
    write(tmp_path / "pairs.jsonl", [*rows, rows[0]])
    assert main(["corpus", "pairs.jsonl"]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    (file,) = json.loads(Path("runs/corpus/corpus.json").read_text(encoding="utf-8"))["files"]
    page = Path("runs/corpus/corpus.html").read_text(encoding="utf-8")
    summary = "pairs.jsonl: 31 rows read, 28 kept; dropped 1 script, 1 length ratio, 1 duplicate"
    assert f"trained on with prepare: {{}}, {summary}" in shown and summary in page
    assert "script: pairs.jsonl:5: 0.00 of the words of zh are Chinese" in shown
    assert (
        file["prepare"]["examples"]["length_ratio"]["id"] == "pairs.jsonl:10" and "Pairs off the length ratio" in page
    )
    (pair,) = file["prepare"]["length_ratio"]["examples"]
    assert pair["id"] == "pairs.jsonl:10" and pair["row"] == rows[9]
    ratios = sorted(len(row["bo"]) / len(row["zh"]) for row in [*rows, rows[0]])
    assert file["prepare"]["length_ratio"]["median"] == ratios[15]
    assert pair["times"] == pytest.approx(len("རིང་པོ་" * 30) / ratios[15])
    breaking = file["columns"]["bo"]["breaking_characters"]
    assert (breaking["texts"], breaking["without"], breaking["distinct"]) == (1, 0, 4)
    found = {one["code_point"]: (one["name"], one["occurrences"]) for one in breaking["most_frequent"]}
    assert found == {
        "U+0041": ("LATIN CAPITAL LETTER A", 2),
        "U+0042": ("LATIN CAPITAL LETTER B", 1),
        "U+E000": ("(no name)", 1),
        "U+FFFD": ("REPLACEMENT CHARACTER", 1),
    }
    assert "U+0041" in shown
    assert "A U+0041 LATIN CAPITAL LETTER A: 2 times in 1 text<" in page and "U+FFFD REPLACEMENT CHARACTER" in page


LEAKS = {"duplicate": 9, "leak": 6}


def test_a_recipe_counts_by_its_own_task_and_settings(tmp_path, monkeypatch, base) -> None:
    """A field that the task does not compare, such as the origin of a row, makes no difference."""
    monkeypatch.chdir(tmp_path)
    words = ("ཀ་བ", "ཁ་པ", "ག་རེ", "ང་ཚོ", "ཅ་ལག", "ཆ་ཤས", "ཇ་མ")
    rows = [
        {"zh": f"第{i % 7}句话，很好。", "bo": f"བོད་ཡིག་{words[i % 7]}་རེད།" + "༎" * (i % 2), "from": f"page {i}"}
        for i in range(20)
    ]
    write(Path("train.jsonl"), rows)
    write(Path("dev.jsonl"), rows[:2] + [{"zh": "今天天气很好。", "bo": "དེ་རིང་གནམ་གཤིས་བཟང་པོ་འདུག", "from": "x"}])
    others = [{"zh": f"数字{i}。", "bo": f"ཨང་{i}", "from": "x"} for i in range(30)]
    write(Path("longer.jsonl"), rows[:2] + others)
    data = {"train": "train.jsonl", "columns": {"zh": "zh", "bo": "bo", "from": "from"}, "prepare": {}}
    model = {"class_path": "SFTModule", "init_args": {"base": base, "weights": "fp32"}}
    for held_out, drops in (
        ({}, {"duplicate": 13}),
        ({"test": "dev.jsonl"}, LEAKS),
        ({"validation": "longer.jsonl"}, LEAKS),
    ):
        recipe = {"model": model, "data": {"class_path": "CorpusDataModule", "init_args": data | held_out}}
        Path("recipe.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True))
        assert main(["corpus", "--config", "recipe.yaml", "--out", "out"]) == 0
        result = json.loads(Path("out/corpus.json").read_text(encoding="utf-8"))
        train = result["preparation"][-1]
        assert train["dropped"] == drops
        assert result["files"][0]["duplicates"]["rows"] == 13  # including rows that are also leaks
        assert sum(pair["dropped"]["rows"] for pair in result["leakage"]) == drops.get("leak", 0)


def test_an_empty_cell_of_a_guessed_column_is_empty_and_of_a_named_one_bad(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows: list[dict[str, Any]] = [{"zh": f"这是第{i}句话。", "en": f"This is line {i}."} for i in range(40)]
    rows[3]["zh"], rows[5]["en"], rows[7]["zh"] = "", None, "  "
    rows[9] = {"zh": "", "en": ""}
    rows[11]["zh"] = 5
    rows[13].pop("en")
    write(Path("rows.jsonl"), rows)

    def counts(*flags: str) -> tuple[int, ...]:
        assert main(["corpus", "rows.jsonl", *flags]) == 0
        (file,) = json.loads(Path("runs/corpus/corpus.json").read_text(encoding="utf-8"))["files"]
        assert file["lines"] == 40 == file["read"] == file["good"] + file["empty"] + file["bad"]["rows"]
        assert file["columns"]["zh"]["characters"]["p5"] > 0  # an empty cell does not count as a text of length 0
        return file["good"], file["empty"], file["bad"]["rows"]

    assert counts() == (34, 5, 1)
    assert counts("--columns", "zh,en") == (34, 0, 6)


def test_blank_lines_and_the_header_are_counted(tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    Path("pairs.tsv").write_text("zh\tbo\n中文\tབོད་ཡིག།\n\n书\tདེབ།\n\n五\t\n", encoding="utf-8")
    assert main(["corpus", "pairs.tsv", "--columns", "zh,bo"]) == 0
    (file,) = json.loads(Path("runs/corpus/corpus.json").read_text(encoding="utf-8"))["files"]
    assert {key: file[key] for key in ("lines", "read", "good", "blank", "header", "empty")} == {
        "lines": 6, "read": 3, "good": 2, "blank": 2, "header": 1, "empty": 0,
    }  # fmt: skip
    shown = "6 lines = 2 good + 1 bad + 2 blank + 1 header"
    assert shown in " ".join(capsys.readouterr().out.split())
    assert shown in Path("runs/corpus/corpus.html").read_text(encoding="utf-8")
