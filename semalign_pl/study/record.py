"""Record of a finished step: its dependencies, its outputs, its duration and its peak memory."""

from __future__ import annotations

from pathlib import Path

from semalign_pl.run import record
from semalign_pl.run.digests import Digests
from semalign_pl.run.grounds import Grounds, adapter_grounds
from semalign_pl.run.kept_steps import STEPS
from semalign_pl.run.named_files import find_files
from semalign_pl.run.record import Done
from semalign_pl.study.back_translation import ANSWERS, PAIRS
from semalign_pl.study.protocol import Step
from semalign_pl.study.systems import ENCODER

_OUTPUTS = ("results.json", "predictions.jsonl", "items.jsonl", "judgements.jsonl", ANSWERS, PAIRS)


def record_file(step: Step) -> Path:
    """Path of a step's record: ``COMMAND.done.json`` in its folder."""
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
    return record.compare(record_file(step), grounds, output_digests(step, digests))


def write(step: Step, grounds: Grounds, seconds: float, digests: Digests) -> Done:
    """Write the record of a step that has just been run.

    Args:
        step: Step that was run.
        grounds: Dependencies of the step.
        seconds: Duration in seconds.
        digests: Digests of files.
    """
    done = Done(grounds, output_digests(step, digests), seconds)
    record.write(record_file(step), done)
    return done


def output_digests(step: Step, digests: Digests) -> Grounds:
    """Return the digests of a step's outputs, by name: adapters or encoder, or what another command wrote."""
    if step.system == ENCODER:
        return {
            f"encoder {name[8:]}": digest for name, digest in adapter_grounds(step.folder / ENCODER, digests).items()
        }
    if step.command == "fit":
        kept = find_files(str(step.folder / STEPS))
        steps = {f"adapter {file.relative_to(step.folder)}": digests.of(file) for file in kept}
        return adapter_grounds(step.folder / "adapter", digests) | steps
    files = [step.folder / name for name in _OUTPUTS]
    return {f"file {file.name}": digests.of(file) for file in files if file.is_file()}


def is_old(step: Step) -> bool:
    """Return true if a step's record is from an earlier version, which did not record dependencies."""
    content = record.load(record_file(step))
    return isinstance(content, dict) and "fingerprint" in content


def read_peak_memory(step: Step) -> float:
    """Read the peak memory of the processes that ran a step, in MiB; 0 if its records are of a version without it.

    Args:
        step: Step that is finished; the points of a frontier have a record each.
    """
    if step.command != "frontier":
        return record.read_peak(record_file(step))
    from semalign_pl.frontier.measure import RECORD
    from semalign_pl.frontier.points import POINTS

    return max(map(record.read_peak, (step.folder / RECORD, *step.folder.glob(f"{POINTS}/*/{RECORD}"))))
