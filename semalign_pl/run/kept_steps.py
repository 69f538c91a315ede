"""Adapters that a training keeps every N optimiser steps, in the subfolder ``steps`` of its folder."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

STEPS = "steps"
"""Name of the subfolder."""
_NAME = re.compile(r"step-(\d+)")


def step_folder(steps: Path, step: int) -> Path:
    """Folder of the weights after a number of optimiser steps.

    Args:
        steps: Folder ``RUN/steps``.
        step: Number of optimiser steps, padded with zeros so that names sort by it.
    """
    return steps / f"step-{step:06d}"


def list_steps(steps: Path) -> dict[int, Path]:
    """Folders of kept steps by number of optimiser steps, ascending; empty if there are none.

    Args:
        steps: Folder ``RUN/steps``, or any folder of folders ``step-N``.
    """
    named = ((_NAME.fullmatch(path.name), path) for path in steps.glob("step-*") if path.is_dir())
    return dict(sorted((int(name[1]), path) for name, path in named if name))


def cut_steps(steps: Path, last: int) -> None:
    """Remove the steps that an earlier attempt kept after the checkpoint from which a run is resumed.

    Args:
        steps: Folder ``RUN/steps``.
        last: Number of optimiser steps done at the checkpoint.
    """
    for step, path in list_steps(steps).items():
        if step > last:
            shutil.rmtree(path)
