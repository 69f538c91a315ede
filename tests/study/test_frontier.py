"""Studies with frontiers on a tiny base: all points of all variants, resume after a kill, and results made again."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.small_runs import Runs

from semalign_pl.__main__ import main
from semalign_pl.study.frontier import check_metrics, measure_points
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.protocol import steps
from semalign_pl.study.systems import Study, System

SCALES = ["scale-0.5", "scale-0.25"]
VARIANTS = {f"sft.lr-{value}": ("--model.init_args.optimizer.init_args.lr", value) for value in ("0.01", "0.001")}


@pytest.fixture
def study(runs: Runs) -> dict[str, Path]:
    """Study of a cold start and a swept system whose test is killed once, at its second point."""
    configs = runs.folder / "configs"
    configs.mkdir()
    evaluation = [
        {"class_path": "Evaluation"},
        {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt")}},
        {"class_path": "ReadingComprehensionProbe", "init_args": {"file": str(runs.corpus / "reading.json")}},
    ]
    kill = {"name": "scale-0.5", "dirpath": str(runs.folder)}
    more = {
        "cold": [],
        "sft": [
            {"class_path": "KeepSteps", "init_args": {"every_n_steps": 1}},
            {"class_path": "helpers.kill_point.KillPoint", "init_args": kill},
        ],
    }
    for name, callbacks in more.items():
        recipe = runs.recipe("sft", [*evaluation, *callbacks])
        recipe["trainer"]["max_steps"] = 2
        recipe["data"]["init_args"]["eval_limit"] = 4
        recipe["model"]["init_args"]["max_new_tokens"] = 40
        if name == "sft":
            del recipe["model"]["init_args"]["lora"]
        (configs / f"{name}.yaml").write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    listed = {
        "frontier": {"costs": ["nll_change_mean", "cmrc_f1"], "scales": [0.25, 0.5], "compare": [["cold", "sft"]]},
        "cold": {"from": "base"},
        "sft": {"from": "cold", "over": {"optimizer.lr": ["1e-2", 0.001]}},
    }
    (configs / "study.yaml").write_text(yaml.safe_dump(listed, sort_keys=False), encoding="utf-8")
    return {"configs": configs, "out": runs.folder / "out", "run": runs.folder / "out" / "seed-0"}


def rewrite(study: dict[str, Path], **frontier: object) -> None:
    path = study["configs"] / "study.yaml"
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    content["frontier"] |= frontier
    path.write_text(yaml.safe_dump(content, sort_keys=False), encoding="utf-8")


def metrics_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]


@pytest.mark.slow
def test_a_whole_study_with_frontiers(study: dict[str, Path], runs: Runs, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["study", "--config", str(study["configs"]), "--out", str(study["out"])]
    first, second = VARIANTS
    killed = study["run"] / first
    [(code, log)] = runs.processes(args)
    assert code == -signal.SIGKILL and (runs.folder / "struck").exists(), log
    assert (killed / "results.json").is_file() and not (killed / "points" / SCALES[1]).exists()

    # The points that were finished are kept, and the others tested.
    capsys.readouterr()
    assert main(args) == 0
    printed = capsys.readouterr().out
    step = printed.split(f"semalign frontier {killed}")[1].split("\n[")[0]
    assert "steps done" in step.splitlines()[-1]
    assert [line.split(" in ")[0] for line in step.splitlines()[1:-1]] == [
        *(f"  {name}: done before" for name in ("step-0", "step-1", "end")),
        *(f"  {name}: is new; tested" for name in SCALES),
    ]
    assert f"sft is {first}, chosen of 2" in printed or f"sft is {second}, chosen of 2" in printed

    # Each entry has what the test of the point wrote.
    results = json.loads((study["out"] / "results.json").read_text(encoding="utf-8"))
    assert list(results["systems"]) == ["base", "cold", "sft"] and "points" not in results["systems"]["base"]
    cold, sft = results["systems"]["cold"], results["systems"]["sft"]
    assert [point["name"] for point in cold["points"]] == ["end", *SCALES]
    assert list(sft["variants"]) == list(VARIANTS) and sft["chosen"] in VARIANTS
    for name, entry in {"cold": cold, **sft["variants"]}.items():
        for point in entry["points"]:
            folder = study["run"] / name / ("" if point["name"] == "end" else f"points/{point['name']}")
            wrote = metrics_of(folder)
            assert {key: metric["seeds"] for key, metric in point["metrics"].items()} == {
                key: [metric["value"]] for key, metric in wrote.items()
            }
    for name in VARIANTS:
        assert [point["name"] for point in sft["variants"][name]["points"]] == ["step-0", "step-1", "end", *SCALES]
    assert sft["metrics"] == sft["variants"][sft["chosen"]]["metrics"] and sft["from"] == "cold"

    # The chosen variant has the largest hypervolume of the first cost.
    frontier = results["frontier"]
    volumes = {name: frontier["sweeps"]["sft"][name]["hypervolumes"]["nll_change_mean"]["value"] for name in VARIANTS}
    assert sft["chosen"] == frontier["curves"]["sft"]["variant"] == max(VARIANTS, key=volumes.__getitem__)
    assert {(entry["a"], entry["b"]) for entry in frontier["verdicts"]} == {("cold", "sft")}
    assert {entry["metric"] for entry in frontier["verdicts"]} == {"nll_change_mean", "cmrc_f1"}

    # A result that changed or is gone is made again, and a point that is not listed any more is removed.
    right = metrics_of(killed / "points" / SCALES[0])
    (killed / "points" / SCALES[0] / "items.jsonl").write_text("{}\n", encoding="utf-8")
    (study["run"] / "cold" / "results.json").unlink()
    systems = [System("cold", study["configs"] / "cold.yaml", "base")]
    systems += [System(name, study["configs"] / "sft.yaml", "cold", flags=flags) for name, flags in VARIANTS.items()]
    plan = {step.name: step for step in steps(Study(systems, FrontierSettings(scales=(0.5,))), study["out"], 1)}
    points, _ = measure_points(plan[f"frontier {killed.name}"])
    assert list(points) == ["step-0", "step-1", "end", SCALES[0]]
    assert right == metrics_of(killed / "points" / SCALES[0]) == points[SCALES[0]]["metrics"]
    printed = capsys.readouterr().out
    assert printed.count(" tested in ") == 1 and f"  {SCALES[0]}: of what it wrote, items.jsonl changed" in printed
    assert f"{SCALES[1]}: is no point of this study any more" in printed
    assert not (killed / "points" / SCALES[1]).exists()
    points, _ = measure_points(plan["frontier cold"])
    assert list(points) == ["end", SCALES[0]]
    printed = capsys.readouterr().out
    assert printed.count(" tested in ") == 1
    assert "  end: of what it wrote, results.json is gone; tested in" in printed


@pytest.mark.slow
def test_variants_are_chosen_on_other_data(
    study: dict[str, Path], runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    (runs.folder / "struck").touch()  # nothing is killed
    for path in study["configs"].glob("*.yaml"):  # the rows of a limit are drawn by the seed, of which there are two
        path.write_text(path.read_text(encoding="utf-8").replace("    eval_limit: 4\n", ""), encoding="utf-8")
    rows = (runs.corpus / "dev.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    texts = (runs.corpus / "text.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    (runs.folder / "rows.jsonl").write_text("".join(rows[4:7]), encoding="utf-8")
    (runs.folder / "text_dev.txt").write_text("".join(texts[:2]), encoding="utf-8")
    questions = runs.folder / "reading_dev.json"
    questions.write_bytes((runs.corpus / "reading.json").read_bytes())
    overlay = {
        "trainer": {
            "callbacks": [
                {"class_path": "Evaluation"},
                {"class_path": "DriftProbe", "init_args": {"file": str(runs.folder / "text_dev.txt")}},
                {"class_path": "ReadingComprehensionProbe", "init_args": {"file": str(questions)}},
            ]
        },
        "data": {"init_args": {"test": str(runs.folder / "rows.jsonl")}},
    }
    (study["configs"] / "validation.yaml").write_text(yaml.safe_dump(overlay), encoding="utf-8")
    rewrite(study, choose_on="validation.yaml", choose_seeds=1, scales=[0.5])
    args = ["study", "--config", str(study["configs"]), "--out", str(study["out"]), "--seeds", "2"]
    assert main(args) == 0
    results = json.loads((study["out"] / "results.json").read_text(encoding="utf-8"))

    # Both variants were tested on the other data, by the first seed alone, and the cold start, which has one, was not.
    validation = study["out"] / "validation"
    assert {path.name for path in validation.iterdir()} == {"seed-0"}
    assert {path.name for path in (validation / "seed-0").iterdir()} == {"base", *VARIANTS}
    signature = metrics_of(validation / "seed-0" / "base")["nll_change_mean"]["signature"]
    assert "|texts:2|" in signature and "|texts:6|" in metrics_of(study["run"] / "base")["nll_change_mean"]["signature"]
    choice = results["choice"]
    volumes = {name: each["hypervolumes"]["nll_change_mean"]["value"] for name, each in choice["sweeps"]["sft"].items()}
    assert set(volumes) == set(VARIANTS)
    chosen = choice["chosen"]["sft"]
    assert chosen == max(volumes, key=volumes.__getitem__) == results["frontier"]["curves"]["sft"]["variant"]
    for name, entry in choice["sweeps"]["sft"].items():
        end = entry["points"].index("end")
        assert entry["quality"][end] == [metrics_of(validation / "seed-0" / name)["chrf"]["value"]]

    # The chosen variant was trained and tested by both seeds, the other one trained by the first seed, never tested.
    (left_out,) = set(VARIANTS) - {chosen}
    for seed in ("seed-0", "seed-1"):
        assert (study["out"] / seed / chosen / "results.json").is_file()
    assert (study["run"] / left_out / "adapter").is_dir() and not (study["run"] / left_out / "results.json").exists()
    assert not (study["out"] / "seed-1" / left_out).exists()
    assert len(results["systems"]["sft"]["metrics"]["chrf"]["seeds"]) == 2
    assert list(results["systems"]["sft"]["variants"]) == [chosen]
    printed = capsys.readouterr().out
    assert f"sft is {chosen}, chosen of 2: by hypervolume on other data than the test set" in " ".join(printed.split())

    # Nothing is repeated.
    assert main(args) == 0
    printed = capsys.readouterr().out
    assert printed.count("done before in") > 20 and " tested in " not in printed and " is run again" not in printed


def test_a_metric_that_is_not_measured_is_refused_before_training(
    study: dict[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    rewrite(study, costs=["cmrc_f1", "ppl"])
    assert main(["study", "--config", str(study["configs"]), "--out", str(study["out"])]) == 2
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert "study.yaml: frontier.costs: the base model's test has no items of ppl; name one of" in error
    assert "chrf" in error and [path.name for path in study["run"].iterdir()] == ["base"]
    base = json.loads((study["run"] / "base" / "results.json").read_text(encoding="utf-8"))
    check_metrics(FrontierSettings(), base, study["configs"])
    base["metrics"]["quiz"] = {**base["metrics"]["cmrc_em"]}
    for settings, message in (
        (FrontierSettings("bleu5"), r"frontier.quality: the base model's test has no items of bleu5; name one"),
        (FrontierSettings("kl_mean"), r"frontier.quality: kl_mean is a cost; name a metric of the new language"),
        (FrontierSettings(costs=("quiz",)), r"cannot tell whether more or less of quiz is better; name a metric with"),
    ):
        with pytest.raises(ValueError, match=message):
            check_metrics(settings, base, study["configs"])
    for name in ("cmrc_f1", "nll_change_mean"):
        del base["metrics"][name]
    with pytest.raises(ValueError, match=r"study.yaml: the base model's test: has items of no cost"):
        check_metrics(FrontierSettings(), base, study["configs"])
    del base["metrics"]["chrf"]
    with pytest.raises(ValueError, match=r"frontier.quality: the base model's test has no items of chrf; name one"):
        check_metrics(FrontierSettings(), base, study["configs"])
