"""Each data set's files: what the sources' files become, and what recipes name."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import random
import re
import shutil
from pathlib import Path

import pytest

from semalign_pl.data.reading.sources import read
from semalign_pl.example_data import mitra, sib200
from semalign_pl.example_data.command import SETS
from semalign_pl.example_data.get import get
from semalign_pl.example_data.sample import SAMPLE
from semalign_pl.files.example_folders import NAMES, remedy
from semalign_pl.probes.reading_comprehension import read_questions

ROOT = Path(__file__).parents[2]


def test_the_folders_are_those_of_the_sets() -> None:
    assert tuple(SETS) == NAMES


@pytest.mark.parametrize("data_set", SETS.values(), ids=SETS)
def test_a_set_names_its_source_and_fixes_its_content(data_set) -> None:
    assert data_set.licence and data_set.changes and data_set.rows
    if data_set is not SAMPLE:
        commit = re.fullmatch(
            r"https://(?:raw\.(github)usercontent|(huggingface))\.com?/([\w.-]+/[\w.-]+)/(?:resolve/)?[0-9a-f]{40}(/.+)?",
            data_set.root,
        )
        assert commit and data_set.source == f"https://{'github.com' if commit[1] else 'huggingface.co'}/{commit[3]}"
    assert len({one.path for one in data_set.downloads}) == len(data_set.downloads)
    for one in data_set.downloads:
        assert re.fullmatch("[0-9a-f]{64}", one.sha256) and 0 < one.size < (2**27 if data_set.package else 2**22)


def test_no_recipe_or_benchmark_reads_from_outside_its_folder() -> None:
    files = [*ROOT.glob("configs/**/*.yaml"), *ROOT.glob("benchmarks/*.py"), ROOT / "Makefile"]
    assert [str(file) for file in files if "shared/data" in file.read_text(encoding="utf-8")] == []
    named = {
        path for file in files for path in re.findall(r"\bdata/\w+/[\w.]+\.jsonl?\b", file.read_text(encoding="utf-8"))
    }
    assert named and all(remedy(path) for path in named)


def test_cmrc2018_is_the_file_beside_the_checkout(shared: Path) -> None:
    one = SETS["cmrc2018"].downloads[0]
    file = shared / "cmrc2018" / "cmrc2018_trial.json"
    assert hashlib.sha256(file.read_bytes()).hexdigest() == one.sha256 and file.stat().st_size == one.size
    made = dict(SETS["cmrc2018"].make({one.path: file}))
    contexts = made.pop("contexts.txt").decode().splitlines()
    assert made == {file.name: file.read_bytes()}
    asked = {question.context for question in read_questions(str(file), None, 0)}
    assert len(contexts) == len(asked) and {text.replace(" ", "") for text in contexts} == {
        "".join(text.split()) for text in asked
    }


def test_sib200_is_joined_as_the_corpus_beside_the_checkout(shared: Path, tmp_path: Path) -> None:
    """The source's tables, written from the joined rows in another order, become the same bytes again."""
    files, folder = {}, shared / "sib200_flores_bo_zh"
    for split in ("train", "dev"):
        rows = [json.loads(line) for line in (folder / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()]
        for field, language in sib200.LANGUAGES.items():
            random.Random(field).shuffle(rows)
            text = io.StringIO()
            table = csv.writer(text, delimiter="\t", lineterminator="\n")
            table.writerows(
                [["index_id", "category", "text"], *((r["index_id"], r["category"], f" {r[field]} ") for r in rows)]
            )
            files[f"{language}/{split}.tsv"] = tmp_path / f"{language}-{split}"
            files[f"{language}/{split}.tsv"].write_text(text.getvalue(), encoding="utf-8")
    assert set(files) == {one.path for one in sib200.SIB200.downloads}
    assert sib200.make(files) == {name: (folder / name).read_bytes() for name in ("train.jsonl", "dev.jsonl")}


BO = "བཅོམ་ལྡན་འདས་ཀྱིས་བཀའ་སྩལ་པ།"
HEAD = "src_segmentnr\tsrc_original\ttgt_segmentnr\ttgt_original\n"


def test_mitra_keeps_whole_pairs_of_usable_length_once(tmp_path: Path) -> None:
    def write(name: str, *pairs: tuple[str, str]) -> Path:
        rows = "".join(f"T1:1\t{bo}\tT2:1\t{zh}\n" for bo, zh in pairs)
        (tmp_path / name).write_text(HEAD + rows, encoding="utf-8")
        return tmp_path / name

    one = write(
        "one",
        (BO, "「世尊告曰。 諸比丘"),
        (BO, "佛告諸比丘言汝等"),  # the Tibetan text again
        (BO + "ཡང་།", "世尊告曰。諸比丘」"),  # the Chinese text again, but for a quotation mark
        ("བཅོམ་ལྡན་འདས་༄༡༢ཀ་ཀྱིས་བཀའ་སྩལ་པ།", "復次須菩提菩薩"),  # a folio's number
        ("བཀའ་སྩལ།", "佛告之言"),  # 8 letters
        (BO, "佛言。"),  # 2 characters
        (BO, "佛" * 40),  # 27 letters for 40 characters
    )
    two = write("two", (f'"{BO}་ཡང', '爾時世尊"說"偈言'), (BO, "佛告諸比丘汝等"))
    dev = write("dev", *((f"{BO}{'ཀ' * (n % 7)}{n}", f"佛告諸比丘汝等{n}") for n in range(1200)))
    made = mitra.make({"1": one, "2": two, "3": dev})
    rows = {name: [json.loads(line) for line in data.splitlines()] for name, data in made.items()}
    assert rows["train.jsonl"] == [
        {"zh": "世尊告曰。諸比丘", "bo": BO},
        {"zh": '爾時世尊"說"偈言', "bo": f'"{BO}་ཡང'},
    ]
    assert [row["zh"] for row in rows["dev.jsonl"]] == [f"佛告諸比丘汝等{n}" for n in range(1000)]


def test_the_sample_has_what_recipes_read(tmp_path: Path) -> None:
    assert get(SAMPLE, tmp_path)
    folder = tmp_path / "sample"
    pairs = {split: read(str(folder / f"{split}.jsonl"), {"zh": "zh", "bo": "bo"}) for split in ("train", "dev")}
    assert [len(rows) for rows in pairs.values()] == [300, 40]
    texts = {split: {text for row in rows.values() for text in row.values()} for split, rows in pairs.items()}
    assert len(texts["train"]) == 600 and texts["train"].isdisjoint(texts["dev"])
    articles = read(str(folder / "headlines.jsonl"), {name: name for name in ("article", "headline", "split")})
    assert sorted(row["split"] for row in articles.values()) == ["dev"] * 30 + ["train"] * 120
    questions = read_questions(str(folder / "questions.json"), None, 0)
    assert len(questions) == 60 and all(q.answers[0] in q.context for q in questions)


def test_blimp_takes_the_first_pairs_of_each_paradigm(tmp_path: Path) -> None:
    files = {}
    for paradigm in ("b_agreement", "a_island"):
        pairs = [{"sentence_good": f"{paradigm} {n}.", "sentence_bad": f"{n} {paradigm}."} for n in range(20)]
        files[f"{paradigm}.jsonl"] = tmp_path / paradigm
        files[f"{paradigm}.jsonl"].write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    rows = [json.loads(line) for line in SETS["blimp"].make(files)["blimp.jsonl"].splitlines()]
    assert [row["paradigm"] for row in rows] == ["a_island"] * 15 + ["b_agreement"] * 15
    assert rows[16] == {"good": "b_agreement 1.", "bad": "1 b_agreement.", "paradigm": "b_agreement"}
    assert len(SETS["blimp"].downloads) == 67


@pytest.mark.slow
def test_every_real_recipe_runs_on_the_sample(tmp_path: Path, miniature: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from semalign_pl.__main__ import main

    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    Path("runs/quickstart").mkdir(parents=True)
    shutil.copytree(miniature, Path("runs/quickstart/world"))
    assert main(["data", "sample"]) == 0
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    flags = [
        word.strip("'") for word in re.search(r"real/sft\.yaml \\\n(.*?)\n```", page, re.S)[1].split() if word != "\\"
    ]
    quick = ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--trainer.enable_progress_bar", "false"]
    quick += ["--data.init_args.batch_size", "2"]
    article = ["--data.init_args.train.path", "--data.init_args.test.path"]
    for recipe in ("sft", "grpo", "source_only", "headline"):
        own = flags
        if recipe == "headline":
            own = [word for flag in article for word in (flag, "data/sample/headlines.jsonl")] + flags[4:]
        if recipe in ("grpo", "source_only"):
            own = [*flags, "--model.init_args.max_new_tokens", "32"]
        assert main(["fit", "--config", f"configs/real/{recipe}.yaml", *own, *quick]) == 0, recipe
        assert Path("runs/real", recipe, "adapter", "adapter_model.safetensors").is_file()
