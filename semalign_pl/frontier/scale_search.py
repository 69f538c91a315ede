"""Search for the scale of an adapter that keeps a budget: tests of scales, the choice, and its adapter folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from semalign_pl.frontier.points import Point, points_of
from semalign_pl.frontier.tester import PointTester
from semalign_pl.policy.blend import write_blend

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.frontier.losses import Loss, Tested, check_metrics, losses
from semalign_pl.functional.dial import Trial, choose, next_scale
from semalign_pl.run.results import write_training

MAX_TESTS = 6
"""Most scales that are tested, besides the base and the lower end of the search."""


@dataclass(frozen=True)
class Goal:
    """Search of `semalign dial`.

    Attributes:
        budget: Most that may be lost of each metric, above 0.
        confidence: One-sided confidence of the bounds of the losses.
        quality: Metric to show as quality.
        scale_from: Lower end of the scale: ``base``, ``start`` or an adapter's folder.
    """

    budget: Mapping[str, float]
    confidence: float = 0.95
    quality: str = "chrf"
    scale_from: str = "base"


@dataclass(frozen=True)
class Setting:
    """Tested scale, with what it gives and costs.

    Attributes:
        scale: Scale of the adapter's update, from 0 to 1.
        quality: Quality at this scale.
        losses: Loss against the base, by metric of the budget.
        used: Largest used share of a budget, by the upper bounds of the losses.
    """

    scale: float
    quality: float
    losses: Mapping[str, Loss]
    used: float


def dial(adapter: Path, recipe: Sequence[str], goal: Goal, out: Path) -> tuple[list[Setting], Setting | None]:
    """Test scales of an adapter, and write the chosen one to ``out/adapter``.

    Args:
        adapter: PEFT folder of the finished adapter.
        recipe: ``--config FILE`` and flags, as for ``semalign test``.
        goal: Budgets, and how they are searched for.
        out: Folder to write to: ``adapter``, ``dial.json``, and the tests in ``points``.

    Returns:
        All tested scales, ascending, and the chosen one; ``None`` if nothing above scale 0 is within the budget. Then
        no adapter is written.

    Raises:
        ValueError: If a metric is not measured from items.
    """
    search = _Search(adapter, recipe, goal, out)
    while len(search.settings) <= MAX_TESTS:
        scale = next_scale([Trial(s.scale, s.used) for s in search.settings])
        if scale is None:
            break
        search.test(scale)
    settings = sorted(search.settings, key=lambda s: s.scale)
    best = choose([Trial(s.scale, s.used) for s in settings])
    chosen = next((s for s in settings if best is not None and s.scale == best.scale and s.scale > 0), None)
    facts = {"adapter": str(adapter), **asdict(goal), "chosen": chosen and chosen.scale}
    file = out / "dial.json"
    write_text(file, to_json({**facts, "scales": [asdict(s) for s in settings]}, file, indent=1))
    if chosen is not None:
        search.write(chosen)
    return settings, chosen


class _Search:
    """Tests of scales in one process.

    Attributes:
        settings: Tested scales, in the order of their tests.
    """

    def __init__(self, adapter: Path, recipe: Sequence[str], goal: Goal, out: Path) -> None:
        self.adapter, self.goal, self.out = adapter, goal, out
        self.tester = PointTester(recipe, adapter)
        self.base = self._test(Point("base", ()))
        check_metrics(self.base, [*goal.budget], "--lose")
        check_metrics(self.base, [goal.quality], "--quality")
        self.settings = [self._setting(0.0, self.base)] if goal.scale_from == "base" else []
        if not self.settings:
            self.test(0.0)

    def _point(self, scale: float) -> Point:
        (point,) = points_of(self.adapter, [scale], None, self.goal.scale_from)
        return point

    def _test(self, point: Point) -> Tested:
        folder = self.out / "points" / point.name
        self.tester.test(point, folder)
        return Tested(folder)

    def test(self, scale: float) -> None:
        """Test a scale, and add it to the settings."""
        self.settings.append(self._setting(scale, self._test(self._point(scale))))

    def _setting(self, scale: float, tested: Tested) -> Setting:
        lost = losses(self.base, tested, [*self.goal.budget], self.goal.confidence)
        used = max(loss.bound / self.goal.budget[name] for name, loss in lost.items())
        return Setting(scale, tested.metrics[self.goal.quality]["value"], lost, used)

    def write(self, chosen: Setting) -> None:
        """Write the adapter of a setting as a plain PEFT folder, with what it was chosen by."""
        folder = self.out / "adapter"
        write_blend(self._point(chosen.scale).terms, self.tester.base, folder)
        facts = {"stage": "dial", "scale": chosen.scale, "scale_from": self.goal.scale_from}
        write_training(folder, **facts, adapter=str(self.adapter), lose=dict(self.goal.budget))
