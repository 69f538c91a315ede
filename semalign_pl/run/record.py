"""Record of a finished command: its dependencies, its outputs, its duration and its peak memory."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from semalign_pl.files.atomic import write_text
from semalign_pl.messages.terminal import visible
from semalign_pl.run.grounds import Grounds, changes
from semalign_pl.run.peak_memory import measure_peak


@dataclass(frozen=True)
class Done:
    """A finished command.

    Attributes:
        grounds: Dependencies of the command, by name.
        wrote: Digests of its outputs, by name: adapter, or results, predictions and items.
        seconds: Duration in seconds.
        peak_memory_mib: Peak memory of its process in MiB, by default of this one until now.
    """

    grounds: Grounds
    wrote: Grounds
    seconds: float
    peak_memory_mib: float = field(default_factory=measure_peak)


def compare(file: Path, grounds: Grounds, outputs: Grounds) -> tuple[Done | None, str]:
    """Check if the results of a recorded command can be reused.

    Args:
        file: Record that `write` wrote.
        grounds: Dependencies of the command now.
        outputs: Digests of its outputs now.

    Returns:
        Record and an empty text, or ``None`` and the reason to run the command again.
    """
    done = _read(file)
    if done is None:
        return None, f"{visible(file)} is damaged"
    if changed := changes(done.grounds, grounds):
        return None, changed
    if changed := changes(done.wrote, outputs):
        return None, f"of what it wrote, {changed}"
    return (done, "") if outputs else (None, f"{visible(file.parent)} holds no result of it")


def write(file: Path, done: Done) -> None:
    """Write the record of a command that has just been run.

    Args:
        file: File to write.
        done: Record.
    """
    write_text(file, json.dumps(asdict(done), ensure_ascii=False, indent=1))


def load(file: Path) -> object:
    """Content of a record; ``None`` if there is no file, or it is not JSON.

    Args:
        file: Record.
    """
    try:
        return json.loads(file.read_bytes().decode("utf-8", "surrogateescape"))
    except (OSError, ValueError, RecursionError):
        return None


def read_peak(file: Path) -> float:
    """Read the peak memory of a command from its record, in MiB; 0 if the record is of a version without it.

    Args:
        file: Record.
    """
    content = load(file)
    peak = content.get("peak_memory_mib") if isinstance(content, dict) else None
    return float(peak) if isinstance(peak, int | float) else 0.0


def _read(file: Path) -> Done | None:
    content = load(file)
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
