"""Table of the completions of training, with their rewards."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from semalign_pl.files.atomic import append_text
from semalign_pl.files.json_text import to_json
from semalign_pl.protocols import has_rollouts
from semalign_pl.run.completions import write_completions
from semalign_pl.run.trainer import is_trial
from semalign_pl.types import StepOutputs


class SampleTable(Callback):
    """Write the completions of training with their rewards.

    ``RUN/completions/batch-N.parquet`` has all completions of batch ``N``, for analysis: one row per completion with
    the columns ``step``, ``id``, ``corpus``, ``prompt``, ``reference``, ``completion``, ``tokens``, ``ended_by_eos``,
    ``reward``, ``reward/NAME`` per reward and ``extra/NAME`` per extra column of a reward (as JSON). Read the folder as
    one table with ``pandas.read_parquet("RUN/completions")``. With several processes, each writes its own file.

    ``RUN/completions.jsonl`` has a few of them, to read while the run goes on.

    Args:
        every_n_steps: Number of batches from one batch in ``completions.jsonl`` to the next; the run's first batch is
            in it.
        groups: Number of prompts per batch in ``completions.jsonl``, with all their completions.
    """

    def __init__(self, every_n_steps: int = 10, groups: int = 2) -> None:
        super().__init__()
        if every_n_steps < 1:
            raise ValueError(f"SampleTable.every_n_steps: {every_n_steps} is not a positive number of batches")
        self.every_n_steps, self.groups = every_n_steps, groups

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Write the batch's completions, and its first groups as text if it is due."""
        if is_trial(trainer) or not has_rollouts(outputs):
            return
        number = trainer.fit_loop.total_batch_idx  # batch_idx would count within the epoch
        rank = trainer.global_rank if trainer.world_size > 1 else None
        folder = Path(trainer.default_root_dir)
        write_completions(folder, number + 1, rank, _columns(trainer.global_step, outputs))
        if trainer.is_global_zero and number % self.every_n_steps == 0:
            self._append_text(folder / "completions.jsonl", trainer.global_step, outputs)

    def _append_text(self, path: Path, step: int, outputs: StepOutputs) -> None:
        rollouts, extra, lines = outputs["rollouts"], outputs.get("extra", {}), list[str]()
        for i, text in enumerate(rollouts.texts[: self.groups * rollouts.num_generations]):
            example = outputs["examples"][i // rollouts.num_generations]
            row = {
                "step": step,
                "id": example.id,
                "prompt": example.prompt,
                "reference": example.reference,
                "completion": text,
                "ended_by_eos": bool(rollouts.finished[i]),
                "reward": _number(outputs["rewards"][i]),
                "rewards": {name: _number(scores[i]) for name, scores in outputs["rewards_per_func"].items()},
            }
            row |= {"extra": {name: values[i] for name, values in extra.items()}} if extra else {}
            lines.append(to_json(row, path, default=str) + "\n")
        append_text(path, "".join(lines))


def _columns(step: int, outputs: StepOutputs) -> dict[str, Sequence[object]]:
    """Columns of the table, with one value per completion."""
    rollouts, extra = outputs["rollouts"], outputs.get("extra", {})
    examples = [outputs["examples"][i // rollouts.num_generations] for i in range(len(rollouts.texts))]
    return {
        "step": [step] * len(examples),
        "id": [one.id for one in examples],
        "corpus": [one.corpus for one in examples],
        "prompt": [one.prompt for one in examples],
        "reference": [one.reference for one in examples],
        "completion": rollouts.texts,
        "tokens": rollouts.completion_mask.sum(1).tolist(),
        "ended_by_eos": rollouts.finished.tolist(),
        "reward": list(map(_number, outputs["rewards"])),
        **{f"reward/{name}": list(map(_number, scores)) for name, scores in outputs["rewards_per_func"].items()},
        # JSON, because a column must have one type in all files, and a reward may give any value at any step.
        **{
            f"extra/{name}": [to_json(v, f"extra/{name}", default=str) for v in values]
            for name, values in extra.items()
        },
    }


def _number(value: Tensor) -> float | None:
    """Value as a float; ``None`` for "not scored", because JSON has no NaN."""
    number = float(value)
    return None if number != number else number
