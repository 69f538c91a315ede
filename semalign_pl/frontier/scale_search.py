"""Search for the scale of an adapter that keeps a budget: tests of scales, the choice, and its adapter folder."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.frontier.losses import Loss, PointResult, check_metrics, losses
from semalign_pl.frontier.measure import measure_point
from semalign_pl.frontier.points import POINTS, Point, scale_point
from semalign_pl.frontier.tester import PointTester
from semalign_pl.functional.cost import allows_all
from semalign_pl.functional.dial import Trial, choose, next_scale
from semalign_pl.policy.adapter_start import check_target
from semalign_pl.run.digests import Digests
from semalign_pl.run.finished import ADAPTER, OWN_RANKS, RECIPE, WHOLE
from semalign_pl.run.lock import hold

log = logging.getLogger(__name__)

MAX_TESTS = 6
"""Most scales that are tested, besides the lower end of the search and the base."""


@dataclass(frozen=True)
class Goal:
    """Goal of a search: the budgets, and how losses against them are measured.

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
    """Tested scale, with its quality and its losses.

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

    A recipe beside it names it, so that ``out`` can be translated with and exported as the folder of a run.

    Args:
        adapter: PEFT folder of the finished adapter.
        recipe: ``--config FILE`` and flags, as for ``semalign test``.
        goal: Budgets, confidence of the losses' bounds, and lower end of the scale.
        out: Folder to write to: ``adapter``, ``fit.yaml``, ``dial.json``, and the tests in ``points``.

    Returns:
        All tested scales, ascending, and the chosen one; ``None`` if nothing above scale 0 is within the budget. Then
        no adapter is written.

    Raises:
        ValueError: If a metric is not measured from items, or ``out/adapter`` is an adapter that is scaled.
    """
    check_target(out / ADAPTER, [path for path, _ in scale_point(str(adapter), 0.5, goal.scale_from).terms])
    with hold(out, "test", "--out"):
        search = _Search(adapter, recipe, goal, out)
        while len(search.settings) <= MAX_TESTS:
            scale = next_scale([Trial(s.scale, s.used) for s in search.settings])
            if scale is None:
                break
            search.test(scale)
        settings = sorted(search.settings, key=lambda s: s.scale)
        best = choose([Trial(s.scale, s.used) for s in settings])
        chosen = next((s for s in settings if best is not None and s.scale == best.scale and s.scale > 0), None)
        file = out / "dial.json"
        facts = {"adapter": str(adapter), **asdict(goal), "chosen": chosen and chosen.scale}
        write_text(file, to_json({**facts, "scales": [asdict(s) for s in settings]}, file, indent=1))
        if chosen is not None:
            search.tester.export(search.point(chosen.scale), out / ADAPTER)
            _write_recipe(recipe, out)
    return settings, chosen


def _write_recipe(recipe: Sequence[str], out: Path) -> None:
    """Write the recipe that tests ``out/adapter``, and by which other commands read ``out`` as a run."""
    given = (f"--trainer.default_root_dir={out}", f"--model.init_args.adapter={out / ADAPTER}", *WHOLE, *OWN_RANKS)
    parse_recipe([*recipe, *given], "test").save(out / RECIPE)


class _Search:
    """Tests of scales in one process; results of an earlier search in the same folder are reused.

    Attributes:
        tester: Tester of all scales.
        settings: Tested scales, in the order of their tests.
    """

    def __init__(self, adapter: Path, recipe: Sequence[str], goal: Goal, out: Path) -> None:
        self.adapter, self.goal, self.out = adapter, goal, out
        self.tester = PointTester(recipe, [self.point(0.5)])
        self.digests = Digests(out / POINTS / "digests.json")
        self.base = self._test(Point("base", ()))
        check_metrics(self.base, [*goal.budget], "--lose")
        check_metrics(self.base, [goal.quality], "--quality")
        for name, most in goal.budget.items():
            if allows_all(name, most, value := self.base.metrics[name]["value"]):
                log.warning(
                    "--lose %s=%g limits nothing: the base has %.3g, all of which may be lost", name, most, value
                )
        self.settings = [self._setting(0.0, self.base)] if goal.scale_from == "base" else []
        if not self.settings:
            self.test(0.0)

    def point(self, scale: float) -> Point:
        """Point at a scale."""
        return scale_point(str(self.adapter), scale, self.goal.scale_from)

    def test(self, scale: float) -> None:
        """Test a scale, and add it to the settings."""
        self.settings.append(self._setting(scale, self._test(self.point(scale))))

    def _test(self, point: Point) -> PointResult:
        measured = measure_point(point, self.tester, self.out, self.digests)
        tested = PointResult(point.folder(self.out))
        how = f"tested in {measured.seconds:.1f} s" if measured.reason else "tested before"
        print(f"{point.name}: {how}", flush=True)
        return tested

    def _setting(self, scale: float, tested: PointResult) -> Setting:
        lost = losses(self.base, tested, [*self.goal.budget], self.goal.confidence)
        used = max(loss.bound / self.goal.budget[name] for name, loss in lost.items())
        return Setting(scale, tested.metrics[self.goal.quality]["value"], lost, used)
