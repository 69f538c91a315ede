"""List the commands of a study, and join their results. A study runs only commands that a user could type."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypedDict

from semalign_pl.study.systems import BASE, System
from semalign_pl.types import Json


class RunMetric(TypedDict):
    """One metric in the ``results.json`` of a test; see `MetricResult`."""

    value: float
    ci: list[float] | None
    signature: str


class RunResults(TypedDict):
    """``results.json`` of a test."""

    metrics: dict[str, RunMetric]
    run: dict[str, Json]


class StudyMetric(RunMetric):
    """One metric in the ``results.json`` of a study: means over seeds, and the value per seed."""

    seeds: list[float]


SystemEntry = TypedDict(
    "SystemEntry", {"from": str | None, "label": str, "metrics": dict[str, StudyMetric]}, total=False
)
"""One system in the ``results.json`` of a study."""


@dataclass(frozen=True)
class Step:
    """One ``semalign`` command of a study.

    Attributes:
        command: ``fit`` or ``test``.
        system: Name of the system to train or test.
        seed: Seed of the run.
        config: Recipe of the system.
        folder: Folder to write to.
        adapter: Folder of the adapter to start from or to test; ``None`` for the base model.
    """

    command: str
    system: str
    seed: int
    config: Path
    folder: Path
    adapter: Path | None

    @property
    def name(self) -> str:
        """Command and system, such as ``fit cold_start``."""
        return f"{self.command} {self.system}"

    @property
    def args(self) -> tuple[str, ...]:
        """Command and flags. They always set the adapter: ``null`` for the base model, whatever the config says."""
        return (
            *(self.command, "--config", str(self.config), "--seed_everything", str(self.seed)),
            *("--trainer.default_root_dir", str(self.folder)),
            *("--model.init_args.adapter", "null" if self.adapter is None else str(self.adapter)),
        )


def steps(systems: Sequence[System], out: Path, seeds: int) -> Iterator[Step]:
    """Yield all commands of a study, in order.

    The base model is tested once, because it does not depend on the seed. Each system is trained from the base model or
    from another system's adapter, and then tested with its own adapter.

    Args:
        systems: Systems of the study, each after the one that it starts from.
        out: Folder of the study; each run writes to ``seed-N/SYSTEM`` in it.
        seeds: Number of seeds; they are 0, 1, ….
    """
    for seed in range(seeds):
        root = out / f"seed-{seed}"
        if seed == 0:
            yield Step("test", BASE, seed, systems[0].config, root / BASE, None)
        for system in systems:
            start = None if system.start == BASE else root / system.start / "adapter"
            folder = root / system.name
            yield Step("fit", system.name, seed, system.config, folder, start)
            yield Step("test", system.name, seed, system.config, folder, folder / "adapter")


def join(systems: Sequence[System], results: Mapping[tuple[int, str], RunResults]) -> dict[str, SystemEntry]:
    """Join the results of all tests to the ``systems`` entry of a study's ``results.json``.

    Args:
        systems: Systems of the study.
        results: Results of each test, by seed and system.

    Returns:
        Dictionary per system, base first: ``label`` if it has one, ``from`` (``None`` for base) and ``metrics``. Each
        metric that all seeds have is a dictionary of ``value`` (mean over seeds), ``ci`` (95 % interval over test rows:
        the mean of the seeds' bounds), ``signature`` and ``seeds`` (value per seed).
    """
    joined: dict[str, SystemEntry] = {BASE: {"from": None}}
    for system in systems:
        joined[system.name] = {"from": system.start}
        if system.label:
            joined[system.name]["label"] = system.label
    for name, entry in joined.items():
        runs = [result["metrics"] for (_, system), result in sorted(results.items()) if system == name]
        entry["metrics"] = {
            metric: _mean([run[metric] for run in runs]) for metric in runs[0] if all(metric in run for run in runs)
        }
    return joined


def _mean(metrics: list[RunMetric]) -> StudyMetric:
    bounds = [ci for metric in metrics if (ci := metric["ci"]) is not None]
    return {
        "value": statistics.fmean(metric["value"] for metric in metrics),
        "ci": [statistics.fmean(bound[side] for bound in bounds) for side in (0, 1)] if bounds else None,
        "signature": metrics[0]["signature"],
        "seeds": [metric["value"] for metric in metrics],
    }
