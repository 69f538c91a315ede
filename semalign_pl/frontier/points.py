"""Points of one system: the steps that its training kept, its end, and scales of its adapter's update."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from semalign_pl.policy.adapter_folder import read_adapter_folder, read_config
from semalign_pl.policy.adapter_start import read_terms
from semalign_pl.run.kept_steps import list_steps
from semalign_pl.run.results import read_training
from semalign_pl.types import Json

END = "end"
"""Name of the point that is the finished adapter."""
POINTS = "points"
"""Subfolder of a system's folder with the results of its other points."""


@dataclass(frozen=True)
class Point:
    """One adapter of a system.

    Attributes:
        name: Name of the point: ``end``, ``step-50`` or ``scale-0.5``.
        terms: PEFT folders with the weights of their updates, whose sum is the adapter: ``((end, S),)`` for a scale S
            from the base, and ``((start, 1 - S), (end, S))`` for one from another adapter. Without terms, the point is
            the base model.
        scale_from: Value of ``model.init_args.scale_from`` that gives these terms.
    """

    name: str
    terms: tuple[tuple[str, float], ...]
    scale_from: str = "base"

    @property
    def settings(self) -> dict[str, str | float | None]:
        """Settings of ``model.init_args`` with which ``semalign test`` tests the same adapter."""
        adapter, scale = self.terms[-1] if self.terms else (None, 1.0)
        return {"adapter": adapter, "adapter_scale": scale, "scale_from": self.scale_from}

    def folder(self, out: Path) -> Path:
        """Folder that the results of the point are written to.

        Args:
            out: Folder of the system, which has the results of its end.
        """
        return out if self.name == END else out / POINTS / self.name

    @property
    def facts(self) -> list[Json]:
        """Terms for ``results.json``."""
        return [{"adapter": path, "weight": weight} for path, weight in self.terms]


def points_of(adapter: str, scales: Sequence[float], steps: Path | None, scale_from: str = "base") -> list[Point]:
    """Points of a system, in the order of its curve: neighbours in the list are neighbours on the path.

    The path leads through the kept steps to the end, and from there back through the scales in descending order. A step
    that is the end, by the number of steps in the adapter's ``training.json``, is left out, and so is scale 1.

    Args:
        adapter: PEFT folder of the finished adapter.
        scales: Scales of its update, 0 to 1.
        steps: Folder of the kept steps; ``None`` for none.
        scale_from: Adapter at scale 0: ``base``, ``start`` (that from which the training started) or a PEFT folder.

    Raises:
        ValueError: If the adapter cannot be read, a scale is outside [0, 1], or ``steps`` has no steps.
    """
    read_config(adapter)
    points = [Point(f"step-{step}", ((str(path), 1.0),)) for step, path in _find_steps(adapter, steps).items()]
    points.append(Point(END, ((adapter, 1.0),)))
    descending = sorted(set(scales), reverse=True)
    return points + [scale_point(adapter, scale, scale_from) for scale in descending if scale != 1]


def scale_point(adapter: str, scale: float, scale_from: str = "base") -> Point:
    """Point between the base, or another adapter, and an adapter.

    Args:
        adapter: PEFT folder of the adapter.
        scale: Weight of the adapter's update, 0 to 1.
        scale_from: Adapter at scale 0: ``base``, ``start`` (that from which the training started) or a PEFT folder.

    Raises:
        ValueError: If the scale is outside [0, 1], or an adapter cannot be read.
    """
    if not 0 <= scale <= 1:
        raise ValueError(f"--scales: {scale:g} is outside 0 to 1; 0 is the start and 1 the finished adapter")
    terms = read_terms(read_adapter_folder(adapter), scale, scale_from)
    return Point(f"scale-{scale:g}", tuple((term.path, weight) for term, weight in terms), scale_from)


def _find_steps(adapter: str, steps: Path | None) -> dict[int, Path]:
    if steps is None:
        return {}
    if not (kept := list_steps(steps)):
        raise ValueError(
            f"--steps: {steps} has no folder step-N; train with the callback KeepSteps, which keeps them in RUN/steps, "
            "or leave --steps out"
        )
    end = (read_training(adapter) or {}).get("steps")
    return {step: path for step, path in kept.items() if step != end}
