"""A real model learns a real language: the study in configs/real, its results and its page.

make real                                        # or, after `semalign data smollm2 choices blimp xquad sib200`:
python benchmarks/real.py                        # writes results/real.json and docs/results/real.md
python benchmarks/real.py --config configs/real/short --out runs/real/short     # make real-short
python benchmarks/real.py --dry-run              # commands with their expected minutes of one core
python benchmarks/real.py --prepare              # encoders and general text only

Finished steps are not redone. The expected minutes are from rows and steps of the recipes and the seconds in COST,
which were measured on one core of an AMD EPYC with SmolLM2-135M; a GPU or more cores take less.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).parent))
import harness
from real_inputs import train_encoders, write_general
from real_page import QUALITY, write_page
from study_points import mean_of

COST = {
    "pair": 0.35,
    "anchor text": 0.35,
    "rollout": 0.72,
    "MultipleChoiceProbe": 0.28,
    "DriftProbe": 0.9,
    "GenerationProbe": 0.3,
    "Evaluation": 0.25,
}
"""Seconds of one core: per trained pair, anchor's text and rollout of GRPO, and per item of a test."""
SHOWN = ("chrf", "semantic_similarity", "language_consistency", "nll_change_mean", "kl_mean", "arc_easy_accuracy",
         "piqa_accuracy", "copa_accuracy", "blimp_accuracy", "english_exact_match")  # fmt: skip

PUBLISHED = Path("configs/real")
"""Study whose results and page are part of the project; any other study's are written beside its runs."""


def expected_seconds(command: str, settings: Mapping[str, Any], tested: int) -> float:
    """Seconds of one core that a step of a study is expected to take.

    Args:
        command: ``fit``, or ``test`` and ``frontier``, which test.
        settings: Settings of the recipe, with defaults.
        tested: Number of points that are tested.
    """
    model, data, trainer = settings["model"]["init_args"], settings["data"]["init_args"], settings["trainer"]
    if command != "fit":
        sizes = [(each["class_path"].split(".")[-1], each["init_args"]) for each in trainer["callbacks"]]
        rows = {"Evaluation": data["eval_limit"] or _lines(data["test"])}
        return tested * sum(
            COST[kind] * (rows.get(kind) or min(given.get("limit") or 10**9, _lines(given["file"])))
            for kind, given in sizes
            if kind in COST
        )
    rows = (data["limit"] or _lines(data["train"])) * (trainer["max_epochs"] or 1)
    if trainer["max_steps"] > 0:
        rows = trainer["max_steps"] * data["batch_size"]
    anchor = model.get("anchor")
    texts = 0 if anchor is None else anchor["rows_per_step"] * rows / data["batch_size"]
    group = model.get("num_generations")
    return rows * (COST["pair"] if group is None else group * COST["rollout"]) + texts * COST["anchor text"]


def _lines(source: Any) -> int:
    """Number of lines of a corpus: a file, an entry of a mix, or a mix."""
    if isinstance(source, list):
        return sum(map(_lines, source))
    file = harness.existing(source["path"] if isinstance(source, Mapping) else source)
    return sum(1 for line in file.read_text(encoding="utf-8").split("\n") if line.strip())


def print_plan(configs: Path, out: Path, seeds: int) -> None:
    """Print the commands of the study with their expected minutes of one core."""
    from semalign_pl.cli.parsed_recipe import parse_recipe
    from semalign_pl.study.protocol import steps
    from semalign_pl.study.study_file import read_study

    study, rows, total = read_study(configs), [], 0.0
    read = functools.cache(lambda args: parse_recipe(args).settings.as_dict())  # of a system's training and its tests
    for step in steps(study, out, seeds):
        settings = read(step.recipe_args)
        tested = 1 + len(step.scales)
        seconds = expected_seconds(step.command, settings, tested)
        total += seconds
        rows.append([step.name, str(step.seed), "" if step.command == "fit" else str(tested), f"{seconds / 60:.0f}"])
    harness.table(f"about {total / 3600:.1f} hours of one core", ["step", "seed", "points", "minutes"], rows)


def collect(out: Path, study: Mapping[str, Any], seeds: int) -> dict[str, Any]:
    """Content of ``real.json``: values over all seeds, and rewards, failures and samples of seed 0."""
    frontier, systems = study["frontier"], study["systems"]
    runs = {name: out / "seed-0" / curve["variant"] for name, curve in frontier["curves"].items()}
    return {
        "verdicts": frontier["verdicts"],
        "systems": frontier["curves"],
        "hypervolumes": frontier["hypervolumes"],
        "quality": frontier["quality"],
        "costs": frontier["costs"],
        "seen_by_rewards": frontier["seen_by_rewards"],
        "optimised": _find_optimised(runs, frontier["seen_by_rewards"]),
        "metrics": {name: _metrics(systems[name]) for name in ("base", *runs)},
        "points": {name: _points(systems[name]) for name in runs},
        "rewards": {name: rewards for name, run in runs.items() if (rewards := _rewards(run / "metrics.csv"))},
        "failures": {name: _failures(run) for name, run in runs.items()},
        "samples": _samples(runs),
        "seconds": study["run"]["seconds"],
        "peak_memory_mib": study["run"]["peak_memory_mib"],
        "seeds": seeds,
        "machine": harness.machine(),
    }


def _metrics(tested: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Mean over seeds and 95 % interval over items of the shown metrics of a system, or of one of its points."""
    found = tested["metrics"]
    return {name: {key: found[name][key] for key in ("value", "ci")} for name in SHOWN if name in found}


def _points(system: Mapping[str, Any]) -> dict[str, dict[str, dict[str, Any]]]:
    """Shown metrics by point of a system, its end first."""
    others = {point["name"]: _metrics(point) for point in system.get("points", [])}
    return {"end": _metrics(system)} | dict(sorted(others.items()))


def _find_optimised(runs: Mapping[str, Path], rewards: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    """Systems by metric of quality that one of their rewards scored."""
    from semalign_pl.frontier.seen import seen_by

    found: dict[str, list[str]] = {}
    for name, run in runs.items():
        measured = json.loads((run / "results.json").read_text(encoding="utf-8"))["metrics"]
        for metric in QUALITY:
            if metric in measured and seen_by(metric, measured[metric]["signature"], rewards[name]):
                found.setdefault(metric, []).append(name)
    return found


def _rewards(file: Path) -> dict[str, float]:
    """Mean of each reward over the steps of a training; empty for SFT."""
    columns = file.open(encoding="utf-8").readline().strip().split(",")
    return {name.split("/")[-1]: mean_of(file, name) for name in columns if name.startswith("train/reward/")}


def _failures(run: Path) -> dict[str, float]:
    """Shares of a test's outputs that fail in ways that a mean hides."""
    rows = _read_lines(run / "predictions.jsonl")
    counts = Counter(row["prediction"].strip() for row in rows)
    found = {
        "empty": counts[""] / len(rows),
        "same output as for another prompt": sum(count for text, count in counts.items() if text and count > 1)
        / len(rows),
        "chrF below 10": sum(row["scores"]["chrf"] < 10 for row in rows) / len(rows),
        "part of the prompt": sum(
            row["prediction"].strip() in row["prompt"] for row in rows if row["prediction"].strip()
        )
        / len(rows),
    }
    if encoder := _find_encoder(run / "test.yaml"):
        found["nearest to another reference"] = 1 - _share_nearest(rows, encoder)
    return found


def _find_encoder(test: Path) -> str | None:
    """Encoder of a test's Evaluation, which is not the reward's."""
    callbacks = yaml.safe_load(test.read_text(encoding="utf-8"))["trainer"]["callbacks"]
    evaluation = next(one for one in callbacks if one["class_path"].split(".")[-1] == "Evaluation")
    return evaluation["init_args"]["encoder"]


def _share_nearest(rows: Sequence[Mapping[str, Any]], encoder: str) -> float:
    """Share of outputs that an encoder finds nearer to their own reference than to all others of the test set."""
    from semalign_pl.encoder.sentence_encoder import SentenceEncoder

    references, model = [row["reference"] for row in rows], SentenceEncoder(encoder)
    cosines = model.encode([row["prediction"] for row in rows]) @ model.encode(references).T
    own = cosines.diagonal().tolist()
    return sum(
        all(value < own[n] for value, other in zip(of_row, references, strict=True) if other != references[n])
        for n, of_row in enumerate(cosines.tolist())
    ) / len(rows)


def _read_lines(file: Path) -> list[dict[str, Any]]:
    """Objects of a JSONL file; ``splitlines`` would also split at U+2028 in a text."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").split("\n") if line]


def _samples(runs: Mapping[str, Path], count: int = 20) -> list[dict[str, str]]:
    """Sources and references of rows spread over the test set, with each system's output."""
    rows: dict[str, list[dict[str, str]]] = {}
    for name, run in runs.items():
        lines = _read_lines(run / "predictions.jsonl")
        rows[name] = lines[:: max(1, len(lines) // count)][:count]
    first: Sequence[dict[str, str]] = next(iter(rows.values()))
    return [
        {"prompt": one["prompt"], "reference": one["reference"]} | {name: rows[name][n]["prediction"] for name in rows}
        for n, one in enumerate(first)
    ]


def main(args: Sequence[str] | None = None) -> None:
    """Prepare, run the steps that are not done yet, write the results and the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=Path("configs/real"))
    parser.add_argument("--out", type=Path, default=Path("runs/real/study"))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1, help="steps that run side by side, on one GPU if there is one")
    parser.add_argument(
        "--encoder", type=Path, default=Path("configs/real/encoder.yaml"), help="recipe of the encoders"
    )
    parser.add_argument("--prepare", action="store_true", help="write encoders and general text, and train no system")
    parser.add_argument("--dry-run", action="store_true", help="print the steps with their expected minutes")
    options = parser.parse_args(args)
    write_general()
    if options.dry_run:  # reads the files of the probes
        return print_plan(options.config, options.out, options.seeds)
    train_encoders(options.encoder)
    if options.prepare:
        return
    from semalign_pl.report.command import show
    from semalign_pl.study.command import run_study

    run_study(options.config, options.out, options.seeds, options.jobs)
    show(options.out)
    study = json.loads((options.out / "results.json").read_text(encoding="utf-8"))
    content = collect(options.out, study, options.seeds)
    given = {name: getattr(options, name) for name in ("config", "out", "seeds", "jobs", "encoder")}
    changed = [f" --{name} {value}" for name, value in given.items() if value != parser.get_default(name)]
    content["command"] = f"python benchmarks/real.py{''.join(changed)}"
    published = options.config == PUBLISHED
    file = (harness.RESULTS if published else options.out) / "real.json"
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_page(content, (Path("docs/results") if published else options.out) / "real.md")
    print(f"written: {file}", file=sys.stderr)


if __name__ == "__main__":
    main()
