"""Folder of a study with everything that the report reads: frontiers, predictions, logs, recipes, histograms."""

from __future__ import annotations

import csv
import json
import math
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from helpers.frontier_study import Planted, write_frontiers, write_json
from semalign_pl.frontier.comparison import compare_study
from semalign_pl.types import Json

SYSTEMS = {
    "cold_start": {"end": Planted(40, 95, 0.1), "scale-0.5": Planted(25, 96, 0.05)},
    "strong_sft": {
        **{f"step-{n}": Planted(40 + n / 5, 95 - n / 12, 0.1 + n / 900) for n in (20, 60, 100)},
        "end": Planted(64, 84, 0.3),
        "scale-0.5": Planted(50, 93, 0.14),
    },
    "semantic_grpo": {
        **{f"step-{n}": Planted(40 + n / 6, 95 - n / 40, 0.1 + n / 2000) for n in (20, 60, 100)},
        "end": Planted(60, 91, 0.18),
        "scale-0.5": Planted(51, 94, 0.13),
    },
}
STARTS = {"cold_start": "base", "strong_sft": "cold_start", "semantic_grpo": "cold_start"}
REWARDS = ["reward:semantic|weight:1.5|encoder:world/encoder|anchor:reference", "reward:language|weight:1|language:bo"]
HOSTILE = "</script><img src=x onerror=\"document.title='harmed'\"><svg onload=\"document.title='harmed'\"><!--<script>"
SYLLABLES = "བཀྲ་ ཤིས་ བདེ་ ལེགས་ བསྒྲུབས་ རྒྱལ་ པོའི་ ཁབ་ གངས་ ལྗོངས་".split()


def write_study(folder: Path, seeds: int = 2, rows: int = 30) -> Path:
    """Write the folder of a finished study.

    Args:
        folder: Folder to write to.
        seeds: Number of seeds.
        rows: Number of test rows. The prediction of the first one of semantic GRPO is hostile.

    Returns:
        ``folder``.
    """
    write_frontiers(folder, SYSTEMS, seeds, items=40, noise=4, spread=0.6, rewards={"semantic_grpo": REWARDS})
    for number, results in enumerate(sorted(folder.rglob("results.json"))):
        run = results.parent
        system, point = (run.parts[-3], run.name) if run.parent.name == "points" else (run.name, "end")
        _add_facts(results, number)
        _write_predictions(run, f"{system} {point}", rows)
        if point == "end":
            _write_recipe(run, "test.yaml", system)
            if system != "base":
                _write_recipe(run, "fit.yaml", system)
        if (system, point) == ("semantic_grpo", "end"):
            _write_log(run)
    frontier = compare_study(folder, {name: [name] for name in ("strong_sft", "semantic_grpo")}, STARTS)
    run = {
        "command": "semalign study --config configs/quickstart --out runs/quickstart --seeds 2",
        "seeds": list(range(seeds)),
        "seconds": {"fit strong_sft": [95.0] * seeds},
        "machine": {"processor": "x86_64", "cores": 2},
        "versions": {"semalign-pl": "0.1.0", "torch": "2.13.0"},
    }
    systems = {
        "base": _system(folder, "base", {"end": None}, seeds),
        **{s: _system(folder, s, SYSTEMS[s], seeds) for s in SYSTEMS},
    }
    write_json(folder / "results.json", {"systems": systems, "frontier": frontier, "run": run})
    return folder


def write_task(folder: Path, system: str, task: Mapping[str, Json], rows: int = 12) -> None:
    """Add a system of another task and test set to a study, with chrF and predictions of its own.

    Args:
        folder: Folder of the study.
        system: Name of the system.
        task: Class path and arguments of the task.
        rows: Number of test rows.
    """
    run = folder / "seed-0" / system
    run.mkdir(parents=True)
    _write_recipe(run, "test.yaml", system, task, "headlines.jsonl")
    _write_predictions(run, system, rows, "headlines.jsonl")
    results = json.loads((folder / "results.json").read_text(encoding="utf-8"))
    metric = {"value": 33.3, "ci": [30.0, 36.0], "signature": "headline", "seeds": [33.3]}
    results["systems"][system] = {"from": "base", "metrics": {"rouge_l": metric}}
    write_json(folder / "results.json", results)


def _system(folder: Path, system: str, points: Mapping[str, Any], seeds: int) -> dict[str, Any]:
    """Entry of a system as a study joins it from its tests."""
    joined = []
    for name in points:
        metrics: dict[str, list[Any]] = {}
        for seed in range(seeds if system != "base" else 1):
            run = folder / f"seed-{seed}" / system
            path = (run if name == "end" else run / "points" / name) / "results.json"
            for metric, entry in json.loads(path.read_text(encoding="utf-8"))["metrics"].items():
                metrics.setdefault(metric, []).append(entry)
        values = {
            metric: {
                **entries[0],
                "value": statistics.fmean(entry["value"] for entry in entries),
                "seeds": [entry["value"] for entry in entries],
            }
            for metric, entries in metrics.items()
        }
        joined.append({"name": name, "metrics": values})
    end = next(one["metrics"] for one in joined if one["name"] == "end")
    return {"from": STARTS.get(system), "metrics": end, **({"points": joined} if len(joined) > 1 else {})}


def _add_facts(path: Path, number: int) -> None:
    """Forward KL, the P90 of the NLL change and its histogram."""
    results = json.loads(path.read_text(encoding="utf-8"))
    nll = results["metrics"]["nll_change_mean"]["value"]
    results["metrics"]["forward_kl"] = {"value": nll * 1.5 + number % 3 / 100, "ci": None, "signature": "forward_kl"}
    results["metrics"]["nll_change_p90"] = {"value": nll + 0.6, "ci": None, "signature": "nll_change:p90"}
    edges = [i / 10 for i in range(-40, 61)]
    counts = [round(5000 * math.exp(-abs(edge - nll) / (0.2 + nll))) for edge in edges[:-1]]
    results["histograms"] = {"nll_change": {"edges": edges, "counts": counts}}
    results["run"]["trained"] |= {"steps": 120}
    write_json(path, results)


def _write_predictions(run: Path, name: str, rows: int, file: str = "test.jsonl") -> None:
    lines = []
    for row in range(rows):
        text = "".join(SYLLABLES[(row * 3 + i) % 10] for i in range(4 + row % 5))
        hostile = name == "semantic_grpo end" and row == 0
        scores = {"chrf": (row * 37) % 100 + len(name) / 100, "rouge_l": (row % 10) / 10}
        prediction = {
            "id": f"{file}:{row + 1}",
            "prompt": f"把下面的中文翻译成藏文：第{row + 1}句。",
            "reference": f"{text}།",
            "prediction": HOSTILE if hostile else f"{text} {name}",
            "scores": scores,
        }
        lines.append(json.dumps(prediction, ensure_ascii=False) + "\n")
    (run / "predictions.jsonl").write_text("".join(lines), encoding="utf-8")


def _write_recipe(
    run: Path, name: str, system: str, task: Mapping[str, Json] | None = None, test: str = "test.jsonl"
) -> None:
    translation = {"class_path": "semalign_pl.Translation", "init_args": {"source": "zh", "target": "bo"}}
    grpo = system == "semantic_grpo"
    callbacks = [{"class_path": "semalign_pl.Evaluation", "init_args": {"language": "bo"}}]
    if grpo:
        callbacks.insert(0, {"class_path": "semalign_pl.rewards.SemanticReward", "init_args": {"weight": 1.5}})
    recipe = {
        "trainer": {"max_steps": 120 if grpo else 400, "callbacks": callbacks, "default_root_dir": str(run)},
        "model": {
            "class_path": f"semalign_pl.{'GRPO' if grpo else 'SFT'}Module",
            "init_args": {"base": "world/base", "beta": 0.04} if grpo else {"base": "world/base"},
        },
        "data": {
            "class_path": "semalign_pl.CorpusDataModule",
            "init_args": {"task": task or translation, "test": test},
        },
    }
    (run / name).write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")


def _write_log(run: Path, steps: int = 120) -> None:
    names = ("train/reward", "train/reward/semantic", "train/reward/language", "train/kl", "train/entropy")
    with (run / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ["step", *names])
        writer.writeheader()
        for step in range(steps):
            rising = 1 - math.exp(-step / 40) + (step * 7 % 5) / 50
            values = (1 + rising, 0.4 + rising / 2, 0.9 + step / 2000, step / 2000, 1.2 - step / 300)
            writer.writerow({"step": step, **dict(zip(names, values, strict=True))})
