"""The record of a finished step: what it depended on, what it wrote, and how long it took."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from semalign_pl.files.atomic import write_text
from semalign_pl.messages.terminal import visible
from semalign_pl.study.digests import Digests
from semalign_pl.study.grounds import Grounds, adapter_grounds, changes
from semalign_pl.study.protocol import Step


@dataclass(frozen=True)
class Done:
    """A finished step.

    Attributes:
        grounds: What it depended on.
        wrote: What it left, by name: an adapter, or results and predictions.
        seconds: How long it took.
    """

    grounds: Grounds
    wrote: Grounds
    seconds: float


def record_file(step: Step) -> Path:
    """Where a step's record is: ``fit.done.json`` or ``test.done.json`` in its folder."""
    return step.folder / f"{step.command}.done.json"


def reuse(step: Step, grounds: Grounds, digests: Digests) -> tuple[Done | None, str]:
    """Decide whether a recorded step can be left as it is.

    Args:
        step: The step; it has a record.
        grounds: What it depends on now.
        digests: Digests of files.

    Returns:
        The record, or ``None`` and the reason why the step is run again.
    """
    file = record_file(step)
    done = _read(file)
    if done is None:
        return None, f"{visible(file)} is damaged"
    if changed := changes(done.grounds, grounds):
        return None, changed
    wrote = written(step, digests)
    if changed := changes(done.wrote, wrote):
        return None, f"of what it wrote, {changed}"
    return (done, "") if wrote else (None, f"{visible(step.folder)} holds no result of it")


def write(step: Step, grounds: Grounds, seconds: float, digests: Digests) -> Done:
    """Record a step that has just been run."""
    done = Done(grounds, written(step, digests), seconds)
    write_text(record_file(step), json.dumps(asdict(done), ensure_ascii=False, indent=1))
    return done


def written(step: Step, digests: Digests) -> Grounds:
    """Return what a step left in its folder, by name and digest."""
    if step.command == "fit":
        return adapter_grounds(step.folder / "adapter", digests)
    files = [step.folder / name for name in ("results.json", "predictions.jsonl")]
    return {f"file {file.name}": digests.of(file) for file in files if file.is_file()}


def is_old(step: Step) -> bool:
    """Tell whether a step's record is of a version that did not note what a step depends on."""
    content = _load(record_file(step))
    return isinstance(content, dict) and "fingerprint" in content


def _read(file: Path) -> Done | None:
    content = _load(file)
    if not isinstance(content, dict):
        return None
    grounds, wrote, seconds = (content.get(key) for key in ("grounds", "wrote", "seconds"))
    if not isinstance(seconds, int | float) or not math.isfinite(seconds):
        return None
    if not isinstance(grounds, dict) or not isinstance(wrote, dict):
        return None
    if not all(isinstance(value, str) for value in [*grounds.values(), *wrote.values()]):
        return None
    return Done(grounds, wrote, float(seconds))


def _load(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes().decode("utf-8", "surrogateescape"))
    except (OSError, ValueError, RecursionError):
        return None
