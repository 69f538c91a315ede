"""Synthetic study on disk, with or without seeds."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SYSTEMS = ("base", "cold_start", "strong_sft", "semantic_grpo")
STARTS = (None, "base", "cold_start", "cold_start")
VALUES = {
    "chrf": (5.0, 40.0, 60.0, 45.0),
    "semantic_similarity": (0.3, 0.559, 0.828, 0.716),
    "cmrc_em": (28.8, 28.1, 20.6, 28.0),
    "cmrc_f1": (66.0, 65.9, 62.9, 65.8),
    "nll_change_mean": (0.0, 0.12, 0.64, 0.24),
}
HALF_WIDTHS = {"chrf": 2.0, "semantic_similarity": 0.01, "cmrc_em": 1.0, "cmrc_f1": 3.0, "nll_change_mean": 0.05}
HOSTILE = '<script>alert("x")</script><img src="https://example.invalid/x.png">'


@pytest.fixture
def results() -> dict[str, Any]:
    """One seed, with intervals over test rows; the paper's translation figures or close to them."""
    systems: dict[str, Any] = {}
    for number, system in enumerate(SYSTEMS):
        metrics = {}
        for name, values in VALUES.items():
            value, half = values[number], HALF_WIDTHS[name]
            metrics[name] = {"value": value, "ci": [value - half, value + half], "signature": f"metric:{name}|rows:137"}
        systems[system] = {"from": STARTS[number], "metrics": metrics}
    run = {
        "versions": {"semalign-pl": "0.1.0"},
        "seeds": [1],
        "seconds": {"cold_start": 90.0, "semantic_grpo": [5025.0, 30.0]},
        "command": "semalign study --out runs/study <&>",
    }
    return {"systems": systems, "run": run}


@pytest.fixture
def log() -> Callable[[int], list[dict[str, str]]]:
    """``log(steps)``: rows of a ``metrics.csv``."""
    return _log_rows


@pytest.fixture
def study(tmp_path: Path) -> Callable[..., Path]:
    """``study(results, seeds)``: a folder as a study writes it; with ``seeds``, one folder per seed."""

    def write(results: dict[str, Any], seeds: tuple[int, ...] = ()) -> Path:
        return _write_study(tmp_path, results, seeds)

    return write


def _write_study(folder: Path, results: dict[str, Any], seeds: tuple[int, ...]) -> Path:
    run = results["run"] | ({"seeds": [*seeds]} if seeds else {})
    (folder / "results.json").write_text(json.dumps({**results, "run": run}), encoding="utf-8")
    for root in [folder / f"seed-{seed}" for seed in seeds] or [folder]:
        for system in results["systems"]:
            (root / system).mkdir(parents=True)
            rows = [_prediction(system, number, root.name) for number in range(137)]
            lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (root / system / "predictions.jsonl").write_text(lines, encoding="utf-8")
        with (root / "semantic_grpo" / "metrics.csv").open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, list(_log_rows(60)[0]))
            writer.writeheader()
            writer.writerows(_log_rows(60))
    return folder


def _prediction(system: str, number: int, root: str) -> dict[str, Any]:
    """One row of ``predictions.jsonl``."""
    return {
        "id": f"test.jsonl:{number + 1}",
        "prompt": f"翻译 {number}",
        "reference": "བཀྲ་ཤིས་བདེ་ལེགས།",
        "prediction": f"{HOSTILE} {system} {root}",
        "scores": {"semantic_similarity": number / 137},
    }


def _log_rows(steps: int) -> list[dict[str, str]]:
    """Rows as CSVLogger writes them: training and validation in separate lines, with blanks between."""
    rows = []
    for step in range(steps):
        train = {"train/reward": 1 + step / steps, "train/reward/semantic": step / steps, "train/kl": step / 1000}
        rest = {"train/entropy": 1.2, "train/completion_tokens": 50 + step % 7, "train/ended_by_eos": 0.9}
        rows.append(
            {"epoch": "0", "step": str(step), "val/loss": "", **{k: str(v) for k, v in {**train, **rest}.items()}}
        )
        rows.append({**dict.fromkeys(rows[-1], ""), "epoch": "0", "step": str(step), "val/loss": "1.0"})
    return rows
