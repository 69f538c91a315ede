"""A language without code of its own, end to end: the world writes it, every stage learns it, by YAML and data only."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import pytest
import yaml
from helpers.short_world import shorten

from semalign_pl.__main__ import main
from semalign_pl.data import Translation
from semalign_pl.languages import get_language
from semalign_pl.toy.__main__ import main as toy
from semalign_pl.toy.speech import FOLDER, speech

ROOT = Path(__file__).parents[1]
QUICK = ["--trainer.enable_progress_bar", "false", "--trainer.enable_model_summary", "false"]
HERE = "runs/new_language"
CONTINUE = ["--model.init_args.adapter"]  # the adapter brings its tokens


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """Folder to run the shipped configs in: they name their files relative to it."""
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def logged(folder: str, name: str) -> list[float]:
    with Path(folder, "metrics.csv").open(encoding="utf-8") as file:
        return [float(row[name]) for row in csv.DictReader(file) if row.get(name)]


def scores(folder: str) -> dict[str, dict]:
    return json.loads(Path(folder, "results.json").read_text(encoding="utf-8"))["metrics"]


def run(command: str, stage: str, *flags: str) -> None:
    assert main([command, "--config", f"configs/new_language/{stage}.yaml", *QUICK, *flags]) == 0


def test_no_code_knows_of_thai() -> None:
    """Thai works by YAML and data: no code contains a Thai letter or asks for its language code."""
    for path in (ROOT / "semalign_pl").rglob("*.py"):
        assert not re.search(r"[\u0e00-\u0e7f]|[\"']th[\"']", path.read_text(encoding="utf-8")), path


@pytest.mark.slow
def test_thai_end_to_end(work: Path) -> None:
    toy(["write", f"{HERE}/world", "--language", "th"])

    evaluation = json.dumps([{"class_path": "Evaluation", "init_args": {"language": "th"}}])
    few = ["--data.init_args.eval_limit", "60", "--trainer.callbacks", evaluation]  # without the slow probes
    run("test", "cold_start", *few, "--trainer.default_root_dir", "runs/base")
    assert scores("runs/base")["language_consistency"]["value"] == scores("runs/base")["chrf"]["value"] == 0

    run("fit", "cold_start", "--trainer.max_steps", "120")
    loss = logged(f"{HERE}/cold_start", "train/loss")
    assert len(loss) == 120 and sum(loss[-10:]) / 10 < 0.3 * loss[0]
    assert sum(logged(f"{HERE}/cold_start", "train/rows_too_long")) == 0

    run("test", "cold_start", *few, *CONTINUE, f"{HERE}/cold_start/adapter")
    found = scores(f"{HERE}/cold_start")
    assert found["language_consistency"]["value"] > 0.5 and found["chrf"]["value"] > 3
    assert "|scripts:Thai|lang:th|" in found["language_consistency"]["signature"]
    for name in ("chrf", "bleu4"):
        assert f"seg:{get_language('th').unit}|lang:th|" in found[name]["signature"]

    short = ["--data.init_args.batch_size", "32", "--model.init_args.lr_scheduler.init_args.warmup_steps", "2"]
    run("fit", "embedder", "--trainer.max_steps", "12", *short)
    loss = logged(f"{HERE}/embedder", "train/loss")
    assert len(loss) == 12 and sum(loss[-3:]) < 0.9 * sum(loss[:3])

    run("fit", "semantic_grpo", "--trainer.max_steps", "2", "--data.init_args.batch_size", "2")
    rows = [json.loads(line) for line in Path(HERE, "semantic_grpo/completions.jsonl").open(encoding="utf-8")]
    assert len(logged(f"{HERE}/semantic_grpo", "train/reward")) == 2 and len({row["reward"] for row in rows}) > 8
    for row in rows:
        assert row["rewards"]["language"] == get_language("th").is_consistent(row["completion"])
    trained = json.loads(Path(HERE, "semantic_grpo/adapter/training.json").read_text(encoding="utf-8"))
    assert "language:th" in json.dumps(trained) and "embedder/encoder" in json.dumps(trained)

    run("test", "semantic_grpo", *few, "--model.init_args.adapter", f"{HERE}/semantic_grpo/adapter")
    assert scores(f"{HERE}/semantic_grpo")["language_consistency"]["value"] > 0.5


def own_language(folder: Path) -> Path:
    """A made-up language with its own script, word order and particles: its words, templates and language file."""
    words = [line.split("\t") for line in (FOLDER / "th.tsv").read_text(encoding="utf-8").splitlines()[1:]]
    letters = "აბგდევზთიკლმნოპჟ"
    made = ["".join(letters[n >> shift & 15] for shift in (8, 4, 0)) for n in range(len(words))]
    lines = [
        "\t".join([row[0], row[1], word, *(["ზე"] if row[3:] else [])]) for row, word in zip(words, made, strict=True)
    ]
    (folder / "mine.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tense = {"past": "და", "habit": "", "now": "ნი", "future": "გა"}
    templates = {
        "code": "mine",
        "name": "mine",
        "sentence": {name: f"{{time}} {{subject}} {{place}} {{object}} {{verb}}{end}." for name, end in tense.items()},
        "headline": "{subject} {place} {object} {verb}",
        **{key: f"{{{key}}}" for key in ("time", "subject", "object")},
        **{"owned": "{owner}ს {subject}", "described": "{adjective} {object}", "counted": "{number} {object}"},
        **{"at": "{place}{preposition}", "to": "{place}მდე"},
    }
    (folder / "mine.yaml").write_text(yaml.safe_dump(templates, allow_unicode=True), encoding="utf-8")
    profile = {"code": "mine", "name": "Mine", "chinese": "我文", "scripts": ["Georgian"], "unit": "word"}
    (folder / "profile.yaml").write_text(yaml.safe_dump(profile, allow_unicode=True), encoding="utf-8")
    return folder / "mine.yaml"


@pytest.mark.slow
def test_a_language_and_a_profile_of_ones_own(work: Path) -> None:
    toy(["write", f"{HERE}/world", "--language", str(own_language(work))])
    pairs = [json.loads(line) for line in Path(HERE, "world/pairs/train.jsonl").open(encoding="utf-8")]
    shorten(Path(HERE, "world"))
    assert list(pairs[0]) == ["zh", "mine"] and Path(HERE, "world/mine.txt").exists()
    assert all(get_language("profile.yaml").is_consistent(pair["mine"]) for pair in pairs)
    assert len({pair["mine"] for pair in pairs}) == len(pairs) == 5000
    assert Translation(target="profile.yaml").example(pairs[0], "1").prompt.startswith("把下面的中文翻译成我文：")

    recipe = (ROOT / "configs/new_language/cold_start.yaml").read_text(encoding="utf-8")
    recipe = recipe.replace("language: th", "language: profile.yaml").replace("target: th", "target: profile.yaml")
    Path("recipe.yaml").write_text(recipe.replace("column: th", "column: mine"), encoding="utf-8")
    args = ["--config", "recipe.yaml", *QUICK, "--data.init_args.eval_limit", "4"]
    assert main(["fit", *args, "--trainer.max_steps", "2"]) == 0
    assert main(["test", *args]) == 0
    for name in ("language_consistency", "chrf"):
        assert "|lang:mine|" in scores(f"{HERE}/cold_start")[name]["signature"]


def test_a_language_whose_files_are_not_whole(tmp_path: Path) -> None:
    path = own_language(tmp_path)
    words, templates = path.with_suffix(".tsv"), path.read_text(encoding="utf-8")
    lines = words.read_text(encoding="utf-8").splitlines()
    for wrong, message in (
        (lines[1:], r"mine.tsv: 1 words are missing, the first is name 扎西; give a line"),
        ([*lines, "noun\t火箭\tა"], r"mine.tsv:303: 'noun\\t火箭\\tა' is no word of the world"),
        ([*lines[:-1], "number\t十\t"], r"mine.tsv:302: .* is no word of the world"),
    ):
        words.write_text("\n".join(wrong), encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            speech(str(path))
    words.write_text("\n".join(lines), encoding="utf-8")
    for wrong, message in (
        (templates.replace("{owner}", "{ower}"), r"mine.yaml: owned: .* has {ower}; it can have subject, owner"),
        (templates.replace("headline:", "heading:"), r"mine.yaml: headline is None; give a text"),
        (templates.replace("  now:", "  soon:"), r"mine.yaml: sentence.now is None"),
    ):
        path.write_text(wrong, encoding="utf-8")
        with pytest.raises(ValueError, match=message):
            speech(str(path))
    with pytest.raises(ValueError, match=r"--language xx: no file .*xx.yaml; use one of bo, th, or a .yaml of"):
        speech("xx")
