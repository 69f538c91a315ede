"""``semalign corpus`` reads every real corpus and accounts for each of its rows."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from semalign_pl.__main__ import main


def lines(path: Path) -> int:
    return sum(bool(line.strip()) for line in path.open(encoding="utf-8"))


def questions(path: Path) -> int:
    articles = json.loads(path.read_text(encoding="utf-8"))["data"]
    return sum(len(paragraph["qas"]) for article in articles for paragraph in article["paragraphs"])


def cells(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return len(list(csv.reader(file))) - 1


def below_header(path: Path) -> int:
    return lines(path) - 1


# With the number of rows that have an empty cell; these are not bad if columns are guessed.
CORPORA = [
    ("mitra_bo_zh/dev.jsonl", lines, {"zh": "zh", "bo": "bo"}, 0),
    ("sib200_flores_bo_zh/train.jsonl", lines, {"zh": "zh", "bo": "bo", "en": "en", "zh_hant": "zh-Hant"}, 0),
    ("sib200_flores_bo_zh/dev.jsonl", lines, {"zh": "zh", "bo": "bo", "en": "en", "zh_hant": "zh-Hant"}, 0),
    ("udhr_bo_zh/pairs.jsonl", lines, {"zh": "zh", "bo": "bo"}, 0),
    ("nanhai_headlines_bo/headlines.jsonl", lines, {"title": "bo", "body": "bo"}, 0),
    ("cmrc2018/cmrc2018_trial.json", questions, dict.fromkeys(("title", "context", "question", "answer"), "zh"), 2),
    ("tibetan_wordlists/botok_particles.tsv", below_header, {"form": "bo", "lemma": "bo"}, 0),
    ("tibetan_wordlists/syllables_mitra.tsv", below_header, {"པ": "bo"}, 0),
    ("tibetan_wordlists/syllables_nanhai.tsv", below_header, {"པ": "bo"}, 0),
]


@pytest.mark.parametrize(("name", "count", "languages", "empty"), CORPORA, ids=[name for name, *_ in CORPORA])
def test_every_row_of_a_real_corpus(name, count, languages, empty, shared, tmp_path, capsys) -> None:
    assert main(["corpus", str(shared / name), "--out", str(tmp_path)]) == 0
    (file,) = json.loads((tmp_path / "corpus.json").read_text(encoding="utf-8"))["files"]
    assert file["read"] == count(shared / name) == file["good"] + file["empty"] + file["bad"]["rows"]
    assert file["bad"]["rows"] == sum(file["bad"]["reasons"].values()) == 0 and file["empty"] == empty
    assert file["lines"] == file["read"] + sum(file[key] for key in ("blank", "header", "continued", "skipped"))
    guessed = {field: column["language"] for field, column in file["columns"].items()}
    assert {field: code.split("-")[0] for field, code in guessed.items()} == {
        field: code.split("-")[0] for field, code in languages.items()
    }
    rows = f"{file['read']:,} read = {file['good']:,} good + " + (
        f"{empty} empty (no text in a column) + " * (empty > 0)
    )
    assert f"{rows}0 bad" in capsys.readouterr().out


def test_all_subjects_of_cmmlu_at_once(shared, tmp_path) -> None:
    subjects = sorted((shared / "cmmlu" / "dev").glob("*.csv"))
    assert main(["corpus", *map(str, subjects), "--out", str(tmp_path / "each")]) == 0
    each = json.loads((tmp_path / "each/corpus.json").read_text(encoding="utf-8"))["files"]
    assert [(file["read"], file["bad"]["rows"]) for file in each] == [(cells(subject), 0) for subject in subjects]
    assert main(["corpus", str(shared / "cmmlu/dev/*.csv"), "--out", str(tmp_path / "all")]) == 0
    (together,) = json.loads((tmp_path / "all/corpus.json").read_text(encoding="utf-8"))["files"]
    assert together["read"] == together["good"] == sum(map(cells, subjects)) == 335


def test_dev_sentences_of_sib200_that_train_has_too(shared, tmp_path) -> None:
    files = [str(shared / "sib200_flores_bo_zh" / name) for name in ("train.jsonl", "dev.jsonl")]
    assert main(["corpus", *files, "--columns", "zh,bo", "--out", str(tmp_path)]) == 0
    (pair,) = json.loads((tmp_path / "corpus.json").read_text(encoding="utf-8"))["leakage"]
    assert pair["rows"]["rows"] == 0
    # One sentence of dev is the end of a longer one in train, word for word in Tibetan.
    (example,) = pair["near"]["examples"]
    assert example["of_row"]["bo"] in example["in_row"]["bo"]
