"""Record of a finished step: its dependencies, its outputs and its duration."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

from semalign_pl.files.atomic import write_text
from semalign_pl.messages.terminal import visible
from semalign_pl.study.digests import Digests
from semalign_pl.study.grounds import Grounds, adapter_grounds, changes
from semalign_pl.study.protocol import Step


@dataclass(frozen=True)
class Done:
    """A finished step.

    Attributes:
        grounds: Dependencies of the step, by name.
        wrote: Digests of the step's outputs, by name: adapter, or results, predictions and items.
        seconds: Duration in seconds.
    """

    grounds: Grounds
    wrote: Grounds
    seconds: float


def record_file(step: Step) -> Path:
    """Path of a step's record: ``fit.done.json`` or ``test.done.json`` in its folder."""
    return step.folder / f"{step.command}.done.json"


def reuse(step: Step, grounds: Grounds, digests: Digests) -> tuple[Done | None, str]:
    """Check if the results of a recorded step can be reused.

    Args:
        step: Step that has a record.
        grounds: Dependencies of the step now.
        digests: Digests of files.

    Returns:
        Record and an empty text, or ``None`` and the reason to run the step again.
    """
    file = record_file(step)
    done = _read(file)
    if done is None:
        return None, f"{visible(file)} is damaged"
    if changed := changes(done.grounds, grounds):
        return None, changed
    outputs = output_digests(step, digests)
    if changed := changes(done.wrote, outputs):
        return None, f"of what it wrote, {changed}"
    return (done, "") if outputs else (None, f"{visible(step.folder)} holds no result of it")


def write(step: Step, grounds: Grounds, seconds: float, digests: Digests) -> Done:
    """Write the record of a step that has just been run.

    Args:
        step: Step that was run.
        grounds: Dependencies of the step.
        seconds: Duration in seconds.
        digests: Digests of files.
    """
    done = Done(grounds, output_digests(step, digests), seconds)
    write_text(record_file(step), json.dumps(asdict(done), ensure_ascii=False, indent=1))
    return done


def output_digests(step: Step, digests: Digests) -> Grounds:
    """Return the digests of a step's outputs, by name."""
    if step.command == "fit":
        return adapter_grounds(step.folder / "adapter", digests)
    files = [step.folder / name for name in ("results.json", "predictions.jsonl", "items.jsonl")]
    return {f"file {file.name}": digests.of(file) for file in files if file.is_file()}


def is_old(step: Step) -> bool:
    """Return true if a step's record is from an earlier version, which did not record dependencies."""
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


def _load(file: Path) -> object:
    try:
        return json.loads(file.read_bytes().decode("utf-8", "surrogateescape"))
    except (OSError, ValueError, RecursionError):
        return None
