"""Length of each stage, and lines for the terminal: every choice with the flag that changes it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator
from pathlib import Path

from semalign_pl.languages import get_language
from semalign_pl.messages.memory_amount import gib
from semalign_pl.project.pairs import Columns, make_flag
from semalign_pl.project.settings import Machine

BATCH, PROMPTS = 16, 8
"""Rows per step of SFT, and prompts per step of GRPO."""
GENERAL = 0.2
"""Share of general rows among those that keep.yaml trains on: that of configs/keep, as the anchor's weight is."""


def describe_columns(file: str, columns: Columns) -> Iterator[str]:
    """Yield lines about the columns of a file.

    Args:
        file: File of pairs.
        columns: Columns of the file.
    """
    pairs = ", ".join(f"{name!r} is {get_language(code).name}" for code, name in columns.names.items())
    left = f"; not used: {', '.join(columns.ignored)}" if columns.ignored else ""
    yield f"{file}: column {pairs}{left}" + (f"; change with {columns.flag}" if columns.guessed else "")
    if columns.numbers:
        yield f"{file}: if these names are a pair, as in a file without a header, give {make_flag(columns.numbers)}"
    if columns.guessed:
        source, target = (get_language(code).name for code in columns.names)
        yield (
            f"direction: from {source} to {target}, which takes {columns.ratio:.1f} times the tokens of the base; "
            f"exchange them with {columns.exchanged}"
        )


def describe_machine(machine: Machine, weights: str, peak: int) -> str:
    """Line about the machine that the recipes are for.

    Args:
        machine: Machine that the recipes are written for.
        weights: Precision of the base.
        peak: Predicted peak memory in bytes.
    """
    memory = gib(machine.memory)
    if not machine.cuda:
        return (
            f"machine: no card found, so the recipes are for this CPU with {memory}, base in {weights}; for a card, "
            "give its memory, e.g. --memory 12GiB"
        )
    found = "" if machine.named else " (this machine's; change with --memory)"
    return f"machine: a card of {memory}{found}, base in {weights}, predicted peak {gib(peak)}, validations included"


def schedule(rows: int) -> dict[str, int]:
    """Rows and steps of each stage, by the name of the templates' variable.

    The cold start has half of the rows, at most 5,000 as in arXiv 2605.14366, and some 200 steps, at least 2 epochs and
    at most 10. GRPO has two epochs, at most 300 steps: a step takes some seconds to a minute. If they are less than an
    epoch, after which validation would come, it is validated three times (``grpo_interval``, else 0).

    Args:
        rows: Number of training rows.
    """
    cold = min(5000, max(rows // 2, min(rows, BATCH)))
    batch = min(256, max(16, rows // 8))
    epoch = math.ceil(rows / PROMPTS)
    steps = min(300, math.ceil(2 * rows / PROMPTS))
    return {
        "cold_rows": cold,
        "cold_epochs": _epochs(cold, BATCH, 200),
        "keep_epochs": _epochs(rows, BATCH, 300),
        "mixed_batches": math.ceil(rows / (1 - GENERAL) / BATCH),
        "grpo_steps": steps,
        "grpo_interval": steps // 3 if steps < epoch else 0,
        "embedder_batch": batch,
        "embedder_epochs": _epochs(rows, batch, 100),
    }


def _epochs(rows: int, batch: int, steps: int) -> int:
    return min(10, max(2, math.ceil(steps * batch / rows)))


def list_steps(folder: Path) -> list[tuple[str, str]]:
    """The four commands from data to a translator: what each does, and its command line.

    Args:
        folder: Folder of the project.
    """
    quoted = shlex.quote(str(folder))
    return [
        ("train the encoder of meaning", f"semalign fit --config {quoted}/embedder.yaml"),
        ("teach script and format", f"semalign fit --config {quoted}/cold_start.yaml"),
        ("train with rewards", f"semalign fit --config {quoted}/grpo.yaml"),
        (
            "score it on the test rows",
            f"semalign test --config {quoted}/grpo.yaml --model.init_args.adapter {quoted}/runs/grpo/adapter",
        ),
    ]
