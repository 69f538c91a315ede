"""Description of each tested system: its start, training, points, and the metrics that its rewards saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.files.documents import read_json

from .chart import colour_of, draw_shape, shape_of
from .files import find
from .json_values import get_object
from .measured_curves import END, points_of
from .recipes import MISSING, EvaluatedTask
from .results import BASE, REMEDY, Results, column_of

METRICS_OF_REWARDS = {
    "semantic": "semantic_similarity",
    "language": "language_consistency",
    "bleu4": "bleu4",
    "chrf": "chrf",
    "rouge_l": "rouge_l",
}
"""Metric that a shipped reward optimises, by the reward's name; a gain in it is no independent evidence."""


@dataclass(frozen=True)
class Tested:
    """One system as a line of the section.

    Attributes:
        title: Title of the system.
        colour: CSS class of its colour.
        icon: SVG path of its shape.
        start: Title of the system that its training started from.
        training: Stage and number of steps.
        points: Names of its points.
        rewards: Signature of each reward, and the title of the metric that the reward saw (empty if none).
        seeds: Number of seeds.
        task: Title of its task.
    """

    title: str
    colour: str
    icon: str
    start: str
    training: str
    points: list[str]
    rewards: list[tuple[str, str]]
    seeds: int
    task: str


def list_tested(
    folder: Path, results: Mapping[str, object], parsed: Results, tasks: Mapping[str, EvaluatedTask]
) -> list[Tested]:
    """Systems of a study, in its order.

    Args:
        folder: Folder of the study.
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.
        tasks: Task of each system.

    Raises:
        ValueError: If a test's ``results.json`` is malformed.
    """
    seen = get_object(results, "frontier", "seen_by_rewards")
    lines = []
    for system, metrics in parsed.systems.items():
        trained = _read_trained(folder, parsed.folder_of(system))
        signatures = seen.get(system, trained.get("signatures"))
        colour, start = colour_of(system, parsed), parsed.starts.get(system)
        steps = f", {trained['steps']} steps" if "steps" in trained else ""
        lines.append(
            Tested(
                title=parsed.title_of(system),
                colour=colour,
                icon=draw_shape(shape_of(colour), 9, 9, 6),
                start=MISSING if start is None else parsed.title_of(start),
                training=f"{str(trained['stage']).upper()}{steps}" if "stage" in trained else MISSING,
                points=[] if system == BASE else [name for name in points_of(results, system) if name != END],
                rewards=[_reward(str(one)) for one in signatures] if isinstance(signatures, list) else [],
                seeds=max((len(metric.seeds) for metric in metrics.values()), default=0) or 1,
                task=tasks.get(system, EvaluatedTask()).title,
            )
        )
    return lines


def _reward(signature: str) -> tuple[str, str]:
    """Signature of a reward and the title of the metric that it saw."""
    metric = METRICS_OF_REWARDS.get(signature.partition("|")[0].removeprefix("reward:"))
    return signature, column_of(metric).title if metric else ""


def _read_trained(folder: Path, system: str) -> Mapping[str, object]:
    """Facts of a system's training that its test repeats; empty if there are none."""
    for path in find(folder, system, "results.json").values():
        return get_object(read_json(path, f"{REMEDY}."), "run", "trained")
    return {}
