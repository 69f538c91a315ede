"""A study of two tasks with an encoder of its own, few-shot transfer, a judge and a paper's tables."""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.pairs import PAIRS
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.__main__ import main
from semalign_pl.report.paper_tables import check_published, compare_published
from semalign_pl.report.recipes import read_tasks
from semalign_pl.report.results import parse
from semalign_pl.report.task_table import by_task
from semalign_pl.study.jobs import needs
from semalign_pl.study.protocol import Step, steps
from semalign_pl.study.study_file import read_study

KILLS = 5


@pytest.fixture
def configs(runs: Runs) -> Path:
    """Study of a translator, two headline writers of which one starts from it, and their encoder."""
    folder = runs.folder / "configs"
    folder.mkdir()
    for split, rows in (("train", PAIRS[:12]), ("test", PAIRS[40:42])):
        lines = (json.dumps({"article": row["bo"] * 2, "headline": row["bo"]}, ensure_ascii=False) for row in rows)
        (folder / f"{split}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    recipe = runs.recipe("sft")
    recipe["trainer"]["max_steps"] = 1
    recipe["data"]["init_args"]["eval_limit"] = 2
    (folder / "sft.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    embedder = {"class_path": "EmbedderModule", "init_args": {"base": runs.encoder, "micro_batch": 8}}
    recipe = {**recipe, "model": embedder, "trainer": {**recipe["trainer"], "callbacks": None}}
    (folder / "encoder.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    measure = [
        {"class_path": "Evaluation", "init_args": {"language": "bo", "encoder": "{encoder}"}},
        {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt")}},
    ]
    headlines = {
        "data.init_args.train": str(folder / "train.jsonl"),
        "data.init_args.test": str(folder / "test.jsonl"),
        "data.init_args.task": {"class_path": "Headline", "init_args": {"language": "bo"}},
        "trainer.callbacks": measure,
    }
    table = {"title": "Headlines", "metrics": ["semantic_similarity"], "rows": {"few": [0.5], "hg": [0.4], "gone": [9]}}
    published = {"source": "a paper", "tables": {"headlines": table}}
    (folder / "published.yaml").write_text(yaml.safe_dump(published, sort_keys=False), encoding="utf-8")
    listed: dict[str, Any] = {
        "encoder": {"config": "encoder.yaml", "set": {"trainer.max_steps": 1}},
        "published": "published.yaml",
        "judge": {"judges": [f"local:{runs.base}"], "pairs": {"headline": [["hg", "few"]]}, "language": "Tibetan"},
        "mt": {"from": "base", "config": "sft.yaml", "set": {"trainer.callbacks": measure}},
        "hg": {"from": "base", "config": "sft.yaml", "set": headlines},
        "few": {"from": "mt", "config": "sft.yaml", "set": {**headlines, "data.init_args.limit": 6}},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(listed, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return folder


def plan(configs: Path, out: Path, seeds: int = 1) -> list[Step]:
    return list(steps(read_study(configs), out, seeds))


def test_the_encoder_is_trained_once_and_named_by_every_test(configs: Path, tmp_path: Path) -> None:
    out = tmp_path / 'o"ut'
    every = plan(configs, out, 2)
    assert [step.name for step in every[:3]] == ["fit encoder", "test base", "fit mt"]
    assert sum(step.system == "encoder" for step in every) == 1
    assert every[0].args[-4:] == ("--trainer.max_steps", "1", "--trainer.default_root_dir", str(out / "encoder"))
    for step in every[1:]:
        if step.command != "judge":
            callbacks = json.loads(step.args[step.args.index("--trainer.callbacks") + 1])
            assert callbacks[0]["init_args"]["encoder"] == str(out / "encoder" / "encoder"), step.name


def test_a_few_shot_system_starts_from_the_other_tasks_adapter(configs: Path, tmp_path: Path) -> None:
    few = next(step for step in plan(configs, tmp_path) if step.name == "fit few")
    assert few.args[-1] == str(tmp_path / "seed-0" / "mt" / "adapter")
    assert json.loads(few.args[few.args.index("--data.init_args.task") + 1])["class_path"] == "Headline"


def test_judging_needs_both_tests_and_all_else_the_encoder(configs: Path, tmp_path: Path) -> None:
    every = plan(configs, tmp_path)
    names = [step.name for step in every]
    of = {names[at]: {names[other] for other in needed} for at, needed in enumerate(needs(every, base_first=False))}
    assert of["fit encoder"] == set() and of["test base"] == {"fit encoder"}
    assert of["fit few"] == {"fit encoder", "fit mt"}
    assert of["judge hg-vs-few"] == {"fit encoder", "test hg", "test few"}
    root = tmp_path / "seed-0"
    assert every[-1].args[:3] == ("judge", str(root / "hg/predictions.jsonl"), str(root / "few/predictions.jsonl"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"encoder": None}, "encoder: None has other keys than config and set"),
        ({"encoder": {"config": "gone.yaml"}}, "encoder.config: there is no file 'gone.yaml'"),
        ({"published": "gone.yaml"}, "published: there is no file 'gone.yaml'"),
        ({"judge": {"pairs": {"headline": [["hg", "few"]]}}}, "has no judges and pairs"),
        ({"judge": {"judges": ["local:x"], "pairs": {"headline": [["hg", "gone"]]}}}, "there is no system 'gone'"),
        ({"judge": {"judges": ["local:x"], "pairs": {"headline": [["hg"]]}}}, "['hg'] is no pair"),
        (
            {"judge": {"judges": ["local:x"], "pairs": {"headline": [["hg", "few"]]}, "who": 1}},
            "judge.who: there is no",
        ),
    ],
)
def test_a_mistake_is_one_line(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], changed: dict[str, object], said: str
) -> None:
    listed = yaml.safe_load((configs / "study.yaml").read_text(encoding="utf-8"))
    (configs / "study.yaml").write_text(yaml.safe_dump({**listed, **changed}, sort_keys=False), encoding="utf-8")
    assert main(["study", "--config", str(configs), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in error and not (tmp_path / "out").exists()


def test_an_encoder_that_no_step_trains_is_refused(
    configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = yaml.safe_load((configs / "study.yaml").read_text(encoding="utf-8"))
    del listed["encoder"]
    (configs / "study.yaml").write_text(yaml.safe_dump(listed, sort_keys=False), encoding="utf-8")
    assert main(["study", "--config", str(configs), "--out", str(tmp_path / "out"), "--dry-run"]) == 2
    assert "mt: names {encoder}, and the study trains none" in capsys.readouterr().err


@pytest.mark.slow
def test_a_study_killed_at_random_moments_has_the_same_results(configs: Path, runs: Runs) -> None:
    straight, killed = runs.folder / "straight", runs.folder / "killed"
    started = time.monotonic()
    [(code, log)] = runs.processes(["study", "--config", str(configs), "--out", str(straight)], timeout_seconds=1800)
    duration = time.monotonic() - started
    assert code == 0, log
    moments = random.Random(17)
    for _ in range(KILLS):
        process = runs.start(["study", "--config", str(configs), "--out", str(killed)])
        process.join(moments.uniform(0.05, 0.3) * duration)  # finished steps are kept, so that the kills add up
        process.kill()
        process.join()
    [(code, log)] = runs.processes(["study", "--config", str(configs), "--out", str(killed)], timeout_seconds=1800)
    assert code == 0, log
    for system in ("mt", "hg", "few"):
        assert_same(weights(straight / "seed-0" / system), weights(killed / "seed-0" / system))
    one, other = (json.loads((out / "results.json").read_text(encoding="utf-8")) for out in (straight, killed))
    assert one["systems"] == other["systems"] and one["judge"] == other["judge"]

    parsed = parse(one)
    tables = by_task(one, parsed, read_tasks(straight, parsed))
    assert [list(table["systems"]) for table in tables.values()] == [["base", "mt"], ["hg", "few"]]  # type: ignore[call-overload]
    assert 0 <= parsed.systems["hg"]["judge_win"].value <= 100
    row = compare_published(check_published(one["published"], ""), parsed)["headlines"]
    assert row["rows"]["few"]["semantic_similarity"]["ours"] == parsed.systems["few"]["semantic_similarity"].value
    page = (straight / "report.html").read_text(encoding="utf-8")
    assert "The paper&#39;s tables beside these" in page or "The paper's tables beside these" in page
