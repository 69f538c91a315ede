"""Measure all points of a system that are not measured yet."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semalign_pl.files.documents import read_json
from semalign_pl.frontier.points import POINTS, Point, points_of
from semalign_pl.frontier.tester import PointTester
from semalign_pl.run import record
from semalign_pl.run.digests import Digests
from semalign_pl.run.grounds import Grounds, adapter_grounds, collect, complete
from semalign_pl.run.kept_steps import STEPS
from semalign_pl.run.lock import hold

RECORD = "point.done.json"
"""File in a point's folder that records what its results depend on."""
OUTPUTS = ("results.json", "items.jsonl", "predictions.jsonl")
_AGAIN = "delete the folder to test the point again"


@dataclass(frozen=True)
class FinishedPoint:
    """Results of one point.

    Attributes:
        point: The point.
        results: Content of its ``results.json``.
        seconds: Duration of its test in seconds.
        reason: Reason for the test; ``None`` if earlier results were reused.
    """

    point: Point
    results: Mapping[str, Any]
    seconds: float
    reason: str | None


def measure(
    adapter: Path,
    recipe: Sequence[str],
    out: Path,
    scales: Sequence[float],
    scale_from: str = "base",
    steps: Path | None = None,
) -> Iterator[FinishedPoint]:
    """Test all points of a system in one process, and yield each when its results are written.

    The results of the finished adapter are written to ``out``, those of another point to ``out/points/NAME``. A point
    is not tested again if nothing has changed that its results depend on: settings, adapters, files and versions.

    Args:
        adapter: PEFT folder of the finished adapter.
        recipe: ``--config FILE`` and flags, as for ``semalign test``.
        out: Folder of the system's results.
        scales: Scales of the adapter's update, 0 to 1.
        scale_from: Adapter at scale 0: ``base``, ``start`` (that from which the training started) or a PEFT folder.
        steps: Folder of kept steps; ``None`` for the subfolder ``steps`` of the adapter's run, if there is one.

    Yields:
        Results of each point, in the order of `points_of`.

    Raises:
        UsageError: If the recipe cannot be parsed.
        ValueError: If an adapter or setting is refused, or another test is running in ``out``.
    """
    if steps is None and (adapter.parent / STEPS).is_dir():
        steps = adapter.parent / STEPS
    points = points_of(str(adapter), scales, steps, scale_from)
    tester = PointTester(recipe, points)
    with hold(out, "test", "--out"):
        digests = Digests(out / POINTS / "digests.json")
        for point in points:
            yield measure_point(point, tester, out, digests)


def measure_point(point: Point, tester: PointTester, out: Path, digests: Digests) -> FinishedPoint:
    """Test one point, unless earlier results can be reused.

    Args:
        point: Point to test.
        tester: Tester of the system's points.
        out: Folder of the system's results, which the caller holds.
        digests: Digests of files.
    """
    folder = point.folder(out)
    file, now = folder / RECORD, _grounds(point, tester, out, digests)
    reason = "is new"
    if file.is_file():
        done, reason = record.compare(file, now, _outputs(folder, digests))
        if done is not None:
            return FinishedPoint(point, read_json(folder / OUTPUTS[0], _AGAIN), done.seconds, None)
        file.unlink()  # before the results that it describes are overwritten
    started = time.monotonic()
    if folder == out:
        results = tester.test(point, folder)
    else:
        with hold(folder, "test", "--out"):
            results = tester.test(point, folder)
    seconds = time.monotonic() - started
    after = _grounds(point, tester, out, digests)
    record.write(file, record.Done(complete(now, after), _outputs(folder, digests), seconds))
    return FinishedPoint(point, results, seconds, reason)


def _grounds(point: Point, tester: PointTester, out: Path, digests: Digests) -> Grounds:
    """Dependencies of a point's results: those of a test, and its terms in place of the recipe's adapter.

    The base model has no terms, but is tested with the tokens that the adapters added.
    """
    settings = tester.settings
    model = settings["model"]
    given = {key: value for key, value in model["init_args"].items() if key not in point.settings}
    own = {**settings, "model": {**model, "init_args": given}}
    terms = {
        f"{name.replace(' ', f' {place}/', 1)}": digest
        for place, (path, _) in enumerate(point.terms)
        for name, digest in adapter_grounds(Path(path), digests).items()
    }
    for path in () if point.terms else tester.adapters:
        files = adapter_grounds(Path(path), digests).items()
        terms |= {name: digest for name, digest in files if "token" in name}
    weights = {f"weight {place}": f"{weight:g}" for place, (_, weight) in enumerate(point.terms)}
    return collect("test", own, out, None, digests) | terms | weights


def _outputs(folder: Path, digests: Digests) -> Grounds:
    files = [folder / name for name in OUTPUTS]
    return {f"file {file.name}": digests.of(file) for file in files if file.is_file()}
