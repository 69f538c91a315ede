"""Table of the completions of training, with their rewards."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.files.atomic import append_text
from semalign_pl.files.json_text import to_json
from semalign_pl.run.folder import may_write


class SampleTable(Callback):
    """Append completions and their rewards to ``RUN/completions.jsonl``.

    Args:
        every_n_steps: Number of batches from one written batch to the next; the run's first batch is written.
        groups: Number of prompts per written batch, with all their completions.
    """

    def __init__(self, every_n_steps: int = 10, groups: int = 2) -> None:
        super().__init__()
        self.every_n_steps, self.groups = every_n_steps, groups

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write the batch's first groups, if it is due."""
        if not may_write(trainer) or "rollouts" not in (outputs or {}):
            return
        if trainer.fit_loop.total_batch_idx % self.every_n_steps:  # batch_idx would count within the epoch
            return
        rollouts, extra = outputs["rollouts"], outputs.get("extra", {})
        path, lines = Path(trainer.default_root_dir) / "completions.jsonl", []
        for i, text in enumerate(rollouts.texts[: self.groups * rollouts.num_generations]):
            example = outputs["examples"][i // rollouts.num_generations]
            row = {
                "step": trainer.global_step,
                "id": example.id,
                "prompt": example.prompt,
                "reference": example.reference,
                "completion": text,
                "ended_by_eos": bool(rollouts.finished[i]),
                "reward": _number(outputs["rewards"][i]),
                "rewards": {name: _number(part[i]) for name, part in outputs["rewards_per_func"].items()},
            }
            row |= {"extra": {name: values[i] for name, values in extra.items()}} if extra else {}
            lines.append(to_json(row, path, default=str) + "\n")
        append_text(path, "".join(lines))


def _number(value: Any) -> float | None:
    """Value as a float; ``None`` for "not scored", because JSON has no NaN."""
    number = float(value)
    return None if number != number else number
