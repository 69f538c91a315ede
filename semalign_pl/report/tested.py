"""Description of each tested system: its start, training, points, and the metrics that its rewards saw."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.files.documents import read_json
from semalign_pl.frontier.seen import seen_by

from .chart import colour_of, draw_shape, shape_of
from .files import find
from .json_values import get_object
from .measured_curves import END, points_of
from .recipes import MISSING, EvaluatedTask
from .results import BASE, QUALITY, REMEDY, Metric, Results, column_of


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
        rewards: Signature of each reward, and the titles of the metrics that it saw (may be empty).
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
        listed = seen.get(system, trained.get("signatures"))
        signatures = map(str, listed) if isinstance(listed, list) else ()
        colour, start = colour_of(system, parsed), parsed.starts.get(system)
        steps = f", {trained['steps']} steps" if "steps" in trained else ""
        lines.append(
            Tested(
                title=parsed.title_of(system),
                colour=colour,
                icon=draw_shape(shape_of(system, parsed), 9, 9, 6),
                start=MISSING if start is None else parsed.title_of(start),
                training=f"{str(trained['stage']).upper()}{steps}" if "stage" in trained else MISSING,
                points=[] if system == BASE else [name for name in points_of(results, system) if name != END],
                rewards=[(signature, _list_seen(signature, metrics)) for signature in signatures],
                seeds=max((len(metric.seeds) for metric in metrics.values()), default=0) or 1,
                task=tasks.get(system, EvaluatedTask()).title,
            )
        )
    return lines


def _list_seen(reward: str, metrics: Mapping[str, Metric]) -> str:
    """Titles of the metrics that a reward saw, of those measured and of the usual metrics of quality."""
    names = dict.fromkeys((*(column.name for column in QUALITY), *metrics))
    signatures = {name: metrics[name].signature if name in metrics else "" for name in names}
    return ", ".join(column_of(name).title for name in names if seen_by(name, signatures[name], [reward]))


def _read_trained(folder: Path, system: str) -> Mapping[str, object]:
    """Facts of a system's training that its test repeats; empty if there are none."""
    for path in find(folder, system, "results.json").values():
        return get_object(read_json(path, f"{REMEDY}."), "run", "trained")
    return {}
