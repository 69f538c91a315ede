"""Which commands make a study, and how their results join. A study runs nothing that a user could not type."""

from __future__ import annotations

import hashlib
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SYSTEMS = ("base", "cold_start", "strong_sft", "semantic_grpo")


@dataclass(frozen=True)
class Step:
    """One ``semalign`` command of a study.

    Attributes:
        seed: Of the run.
        system: Whose folder it writes.
        args: Command and flags.
    """

    seed: int
    system: str
    args: tuple[str, ...]

    @property
    def name(self) -> str:
        """E.g. ``fit cold_start``."""
        return f"{self.args[0]} {self.system}"


def steps(configs: Path, out: Path, seeds: int) -> Iterator[Step]:
    """All commands, in order (arXiv 2605.14366, section "two stages").

    Base is tested as it is, once: nothing in it depends on the seed. Cold start trains from base; strong SFT and
    semantic GRPO each train from the cold start's adapter. Then each is tested with its own adapter.

    Args:
        configs: Folder with ``cold_start.yaml``, ``strong_sft.yaml`` and ``semantic_grpo.yaml``.
        out: Folder of the study; runs go to ``seed-N/SYSTEM`` in it.
        seeds: How many; they are 0, 1, ….

    Raises:
        ValueError: If a config is missing.
    """
    for system in SYSTEMS[1:]:
        if not (configs / f"{system}.yaml").is_file():
            raise ValueError(
                f"--config: there is no {system}.yaml in {configs}; a study needs {', '.join(SYSTEMS[1:])}"
            )
    for seed in range(seeds):
        folder = out / f"seed-{seed}"
        adapter = folder / "cold_start" / "adapter"
        for system in SYSTEMS:
            if system == "base" and seed > 0:
                continue
            config = configs / f"{'cold_start' if system == 'base' else system}.yaml"
            common = (
                *("--config", str(config), "--seed_everything", str(seed)),
                *("--trainer.default_root_dir", str(folder / system)),
            )
            start = () if system in SYSTEMS[:2] else ("--model.init_args.adapter", str(adapter))
            if system != "base":
                yield Step(seed, system, ("fit", *common, *start))
            own = () if system == "base" else ("--model.init_args.adapter", str(folder / system / "adapter"))
            yield Step(seed, system, ("test", *common, *own))


def fingerprint(step: Step) -> str:
    """What a step depends on: its flags and the text of its config."""
    config = Path(step.args[step.args.index("--config") + 1]).read_bytes()
    return hashlib.sha256(repr(step.args).encode() + config).hexdigest()


def join(results: dict[tuple[int, str], dict[str, Any]]) -> dict[str, Any]:
    """The ``systems`` part of a study's ``results.json``.

    Args:
        results: What each test wrote, by seed and system.

    Returns:
        For each system and metric: ``value`` (mean over seeds), ``ci`` (95 % over test rows; the mean of the seeds'
        bounds), ``signature`` and ``seeds`` (each seed's value).
    """
    systems: dict[str, Any] = {}
    for system in SYSTEMS:
        runs = [result["metrics"] for (_, name), result in sorted(results.items()) if name == system]
        if runs:
            systems[system] = {"metrics": {name: _mean([run[name] for run in runs]) for name in runs[0]}}
    return systems


def _mean(scores: list[dict[str, Any]]) -> dict[str, Any]:
    bounds = [score["ci"] for score in scores if score["ci"] is not None]
    return {
        "value": statistics.fmean(score["value"] for score in scores),
        "ci": [statistics.fmean(bound[side] for bound in bounds) for side in (0, 1)] if bounds else None,
        "signature": scores[0]["signature"],
        "seeds": [score["value"] for score in scores],
    }
