"""List the commands of a study, and join their results. A study runs only commands that a user could type."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semalign_pl.study.systems import BASE, System


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


def join(systems: Sequence[System], results: dict[tuple[int, str], dict[str, Any]]) -> dict[str, Any]:
    """Join the results of all tests to the ``systems`` entry of a study's ``results.json``.

    Args:
        systems: Systems of the study.
        results: Results of each test, by seed and system.

    Returns:
        Dictionary per system, base first: ``label`` if it has one, ``from`` (``None`` for base) and ``metrics``. Each
        metric that all seeds have is a dictionary of ``value`` (mean over seeds), ``ci`` (95 % interval over test rows:
        the mean of the seeds' bounds), ``signature`` and ``seeds`` (value per seed).
    """
    joined: dict[str, Any] = {BASE: {"from": None}}
    for system in systems:
        joined[system.name] = {"from": system.start} | ({"label": system.label} if system.label else {})
    for name, body in joined.items():
        runs = [result["metrics"] for (_, system), result in sorted(results.items()) if system == name]
        body["metrics"] = {
            metric: _mean([run[metric] for run in runs]) for metric in runs[0] if all(metric in run for run in runs)
        }
    return joined


def _mean(scores: list[dict[str, Any]]) -> dict[str, Any]:
    bounds = [score["ci"] for score in scores if score["ci"] is not None]
    return {
        "value": statistics.fmean(score["value"] for score in scores),
        "ci": [statistics.fmean(bound[side] for bound in bounds) for side in (0, 1)] if bounds else None,
        "signature": scores[0]["signature"],
        "seeds": [score["value"] for score in scores],
    }
