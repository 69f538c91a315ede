"""A study that trains a translator in the reverse direction, and a system on what it translated."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from helpers.pairs import PAIRS
from helpers.small_runs import Runs

from semalign_pl.__main__ import main
from semalign_pl.study.back_translation import back_translate, usable_pairs
from semalign_pl.study.jobs import needs
from semalign_pl.study.protocol import choosing_steps, steps
from semalign_pl.study.study_file import read_study

CORPUS = {"path": "{back_translated}", "name": "translated"}


@pytest.fixture
def configs(runs: Runs) -> Path:
    """Study of one system, which trains on the pairs and on back-translated texts."""
    folder = runs.folder / "configs"
    folder.mkdir()
    recipe = runs.recipe("sft")
    recipe["trainer"]["max_steps"] = 1
    recipe["data"]["init_args"]["eval_limit"] = 2
    (folder / "sft.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    texts = folder / "texts.txt"
    texts.write_text("".join(f"{row['bo']}\n" for row in PAIRS[20:23]), encoding="utf-8")
    reverse = {"class_path": "Translation", "init_args": {"source": "bo", "target": "zh"}}
    measured = [{"class_path": "Evaluation", "init_args": {"language": "bo"}}]
    listed = {
        "back_translation": {"config": "sft.yaml", "texts": str(texts), "set": {"data.init_args.task": reverse}},
        "sft": {
            "from": "base",
            "config": "sft.yaml",
            "set": {
                "trainer.callbacks": measured,
                "data.init_args.train": [str(runs.corpus / "train.jsonl"), CORPUS],
            },
        },
    }
    write(folder, listed)
    return folder


def write(folder: Path, listed: dict[str, Any]) -> None:
    (folder / "study.yaml").write_text(yaml.safe_dump(listed, sort_keys=False, allow_unicode=True), encoding="utf-8")


def test_texts_are_translated_once_before_all_that_trains_on_them(configs: Path, tmp_path: Path) -> None:
    plan = list(steps(read_study(configs), tmp_path, 2))
    names = [step.name for step in plan]
    shared = ["fit back_translation", "translate back_translation"]
    assert names == [*shared, "test base", *["fit sft", "test sft"] * 2]
    written = tmp_path / "back_translation" / "back_translated.jsonl"
    folder, texts = str(written.parent), str(configs / "texts.txt")
    assert plan[1].args == ("translate", folder, "--file", texts, "--out", f"{folder}/translations.jsonl")
    given = [json.loads(step.args[step.args.index("--data.init_args.train") + 1])[1] for step in plan[3:]]
    assert given == [{**CORPUS, "path": str(written)}] * 4
    needed = [{names[at] for at in places} for places in needs(plan, base_first=False)]
    assert needed[:4] == [set(), {shared[0]}, {*shared}, {*shared}]


def test_a_choice_among_variants_has_the_translations(configs: Path, tmp_path: Path) -> None:
    listed = yaml.safe_load((configs / "study.yaml").read_text(encoding="utf-8"))
    listed["sft"]["over"] = {"optimizer.lr": [1e-3, 1e-2]}
    write(configs, {"frontier": {"quality": "chrf", "costs": ["cmrc_f1"], "choose_on": "sft.yaml"}, **listed})
    names = [step.name for step in choosing_steps(read_study(configs), tmp_path, 1)]
    assert names[:2] == ["fit back_translation", "translate back_translation"]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (None, "sft: names {back_translated}, and the study trains none; add the key `back_translation: {config:"),
        ({"config": "sft.yaml"}, "back_translation: {'config': 'sft.yaml'} names no texts to translate; write"),
        ({"config": "gone.yaml", "texts": "a.txt"}, "back_translation.config: there is no file 'gone.yaml'"),
        ({"config": "sft.yaml", "texts": "a.txt", "file": 1}, "has other keys than config and set"),
    ],
)
def test_a_mistake_is_one_line(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], entry: object, said: str
) -> None:
    listed = yaml.safe_load((configs / "study.yaml").read_text(encoding="utf-8"))
    rest = {key: value for key, value in listed.items() if key != "back_translation"}
    write(configs, rest if entry is None else {"back_translation": entry, **rest})
    assert main(["study", "--config", str(configs), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    assert said in capsys.readouterr().err.strip().splitlines()[-1]


def test_translations_that_no_system_uses_are_refused(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = yaml.safe_load((configs / "study.yaml").read_text(encoding="utf-8"))
    del listed["sft"]["set"]["data.init_args.train"]
    write(configs, listed)
    assert main(["study", "--config", str(configs), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    assert 'back_translation: no system uses it; write "{back_translated}"' in capsys.readouterr().err


@pytest.mark.slow
def test_the_system_trains_on_what_was_translated(
    miniature: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The tiny base of the other tests writes blanks alone, so the miniature's base learns some pairs."""
    configs, texts, pairs = tmp_path / "configs", tmp_path / "texts.txt", tmp_path / "pairs.jsonl"
    configs.mkdir()
    lines = (miniature / "pairs" / "train.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)[:8]
    pairs.write_text("".join(lines), encoding="utf-8")
    known = [json.loads(line)["bo"] for line in lines]
    texts.write_text("".join(f"{text}\n" for text in known[:3]), encoding="utf-8")
    model = {"base": str(miniature / "base"), "weights": "fp32", "lora": {"r": 16, "alpha": 32, "dropout": 0.0}}
    model["optimizer"] = {"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-3}}
    data = {"train": str(pairs), "test": str(pairs), "batch_size": 8, "eval_limit": 2}
    trainer = {"accelerator": "cpu", "max_steps": 40, "enable_progress_bar": False}
    recipe = {
        "trainer": {**trainer, "callbacks": [{"class_path": "Evaluation", "init_args": {"language": "bo"}}]},
        "model": {"class_path": "SFTModule", "init_args": {**model, "max_new_tokens": 40}},
        "data": {"class_path": "CorpusDataModule", "init_args": data},
    }
    (configs / "sft.yaml").write_text(yaml.safe_dump(recipe), encoding="utf-8")
    reverse = {"data.init_args.task": {"class_path": "Translation", "init_args": {"source": "bo", "target": "zh"}}}
    own = {"data.init_args.train": [str(pairs), CORPUS], "trainer.max_steps": 1}
    listed = {
        "back_translation": {"config": "sft.yaml", "texts": str(texts), "set": reverse},
        "sft": {"from": "base", "config": "sft.yaml", "set": own},
    }
    write(configs, listed)
    command = ["study", "--config", str(configs), "--out", str(tmp_path / "out")]
    written = tmp_path / "out" / "back_translation" / "back_translated.jsonl"

    assert main(command) == 0
    rows = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert [row["bo"] for row in rows] == known[:3]
    assert rows[0]["zh"] == json.loads(lines[0])["zh"]  # it was trained on this pair
    logged = (tmp_path / "out" / "seed-0" / "sft" / "metrics.csv").read_text(encoding="utf-8")
    assert "train/share/translated" in logged
    capsys.readouterr()

    assert main(command) == 0
    assert capsys.readouterr().out.count("done before") == 5
    texts.write_text(f"{known[4]}\n", encoding="utf-8")
    assert main(command) == 0
    said = capsys.readouterr().out
    assert said.count("done before") == 2, said  # the translator, and the base, which is tested on the pairs
    (row,) = [json.loads(line) for line in written.read_text(encoding="utf-8").splitlines()]
    assert row["bo"] == known[4]


def test_texts_without_a_whole_translation_are_left_out(tmp_path: Path) -> None:
    answers = [("一", True, False), ("", True, False), (" \n", True, False), ("二", False, False), ("三", True, True)]
    rows = [{"source": "ཀ", "prediction": text, "finished": done, "cut": cut} for text, done, cut in answers]
    assert usable_pairs(rows, "bo", "zh") == [{"zh": "一", "bo": "ཀ"}]


def test_cut_texts_are_counted_and_line_separators_are_text(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"source": "ཀ", "prediction": "一\u2028二", "finished": True, "cut": cut} for cut in (False, True)]

    def translate(run: object, text: None, file: str, out: Path) -> None:
        out.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")

    task = SimpleNamespace(task=SimpleNamespace(fields=("bo", "zh")))
    monkeypatch.setattr("semalign_pl.inference.translate.translate", translate)
    monkeypatch.setattr("semalign_pl.run.finished.FinishedRun.of", lambda folder: folder)
    monkeypatch.setattr("semalign_pl.inference.loaded_run.RunRecipe.of", lambda run: task)
    back_translate(tmp_path, "texts.txt")
    assert "  1 of 2 translations are whole (cut texts: 1); written: " in capsys.readouterr().out
    written = (tmp_path / "back_translated.jsonl").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert [json.loads(line) for line in written] == [{"zh": "一\u2028二", "bo": "ཀ"}]


def test_texts_in_the_other_language_are_refused(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A task that is not reversed would take the texts for the source, and train on nonsense."""
    listed = yaml.safe_load((configs / "study.yaml").read_text(encoding="utf-8"))
    del listed["back_translation"]["set"]
    write(configs, listed)
    assert main(["study", "--config", str(configs), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "most of the first 3 texts are not in Chinese" in error and "the other way round" in error
    assert not (tmp_path / "out" / "back_translation" / "adapter").exists()  # it is refused before it is trained


def test_no_whole_translation_is_one_line(configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "--config", str(configs), "--out", str(tmp_path / "out")]) == 2  # the tiny base writes blanks
    assert "back_translation: none of the 3 translations in" in capsys.readouterr().err.strip().splitlines()[-1]
