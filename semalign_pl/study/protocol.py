"""Which commands make a study, and how their results join. A study runs nothing that a user could not type."""

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
        system: What it trains or tests.
        seed: Of the run.
        config: The system's recipe.
        folder: What it writes to.
        adapter: Folder of the adapter it starts from; ``None`` for the base model.
    """

    command: str
    system: str
    seed: int
    config: Path
    folder: Path
    adapter: Path | None

    @property
    def name(self) -> str:
        """E.g. ``fit cold_start``."""
        return f"{self.command} {self.system}"

    @property
    def args(self) -> tuple[str, ...]:
        """Command and flags; without an adapter it is the base model, whatever the config says."""
        return (
            *(self.command, "--config", str(self.config), "--seed_everything", str(self.seed)),
            *("--trainer.default_root_dir", str(self.folder)),
            *("--model.init_args.adapter", "null" if self.adapter is None else str(self.adapter)),
        )


def steps(systems: Sequence[System], out: Path, seeds: int) -> Iterator[Step]:
    """All commands, in order.

    Base is tested as it is, once: nothing in it depends on the seed. Each system trains from the base or from another
    system's adapter, and is then tested with its own.

    Args:
        systems: Of the study, each below the one it starts from.
        out: Folder of the study; runs go to ``seed-N/SYSTEM`` in it.
        seeds: How many; they are 0, 1, ….
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
    """The ``systems`` part of a study's ``results.json``.

    Args:
        systems: Of the study.
        results: What each test wrote, by seed and system.

    Returns:
        For each system, base first: ``label`` if it has one, ``from`` (``None`` for base) and ``metrics``; for each
        metric that all seeds have, ``value`` (mean over seeds), ``ci`` (95 % over test rows; the mean of the seeds'
        bounds), ``signature`` and ``seeds`` (each seed's value).
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
