"""Move an earlier run out of a folder before another one begins there, so that files of two runs never mix."""

from __future__ import annotations

from pathlib import Path

from semalign_pl.messages.terminal import visible
from semalign_pl.run.completions import COMPLETIONS
from semalign_pl.run.kept_steps import STEPS

_FILES = (
    *("fit.yaml", "validate.yaml", "test.yaml", "predict.yaml", "metrics.csv", "completions.jsonl"),
    *("reward_watch.jsonl", "results.json", "items.jsonl", "predictions.jsonl", "fit.done.json", "test.done.json"),
    *("point.done.json", "points", "corpus", "adapter", "encoder", "best", "checkpoints", "export"),
    *("tax_budget.json", "judge_answers.jsonl*", "judge_digests.json", "reward_check", COMPLETIONS, STEPS),
)
"""What the commands of this package write to a run's folder, as patterns, except locks and the note of a study."""


def rotate(folder: Path) -> Path | None:
    """Move the files of an earlier run to a folder beside it, ``RUN.earlier-1``; other files of the user stay.

    An audit of the rewards alone is no earlier run: it precedes the first one.

    Args:
        folder: Folder of the run, which the caller holds.

    Returns:
        Folder with the earlier run; ``None`` if there was none.
    """
    found = [path for name in _FILES for path in folder.glob(name)]
    if {path.name for path in found} <= {"reward_check"}:
        return None
    earlier = free_folder(folder)
    earlier.mkdir()
    for path in found:
        path.rename(earlier / path.name)
    print(visible(f"{folder} holds an earlier run; it was moved to {earlier}"), flush=True)
    return earlier


def free_folder(folder: Path) -> Path:
    """First name ``FOLDER.earlier-N`` that is not taken.

    Args:
        folder: Folder to move.
    """
    number, folder = 1, folder if folder.name else folder.absolute()  # the working folder has no name of its own
    while (earlier := folder.with_name(f"{folder.name}.earlier-{number}")).exists():
        number += 1
    return earlier
