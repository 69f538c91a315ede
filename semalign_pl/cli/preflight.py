"""Checks of a run before its model is loaded."""

from __future__ import annotations

from pathlib import Path

from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningDataModule, LightningModule, Trainer

from semalign_pl.callbacks import Evaluation
from semalign_pl.data import CorpusDataModule
from semalign_pl.data.corpora import prompt_tasks
from semalign_pl.modules.encoder import NO_TEXT, EncoderModule
from semalign_pl.run.trainer import callbacks_of

_STAGES = {"validate": "validation", "test": "test", "predict": "predict"}
_WRITES = {
    "validate": "logs under val/",
    "test": "writes results.json, predictions.jsonl and items.jsonl",
    "predict": "writes predictions.jsonl",
}


def check_slurm_checkpoint(root: Path, checkpoint: str | None) -> None:
    """Refuse a folder from which Lightning would load a checkpoint that the user did not name.

    Under SLURM, every command of Lightning loads ``hpc_ckpt_N.ckpt`` in the run's folder, which it wrote within a step.

    Args:
        root: Folder of the run.
        checkpoint: Value of ``--ckpt_path``.

    Raises:
        ValueError: Under SLURM, if the folder has such a checkpoint and ``--ckpt_path`` is not given.
    """
    found = sorted(root.glob("hpc_ckpt_*.ckpt"))
    if checkpoint is None and found and SLURMEnvironment.detect():
        raise ValueError(
            f"trainer.default_root_dir: {found[-1]} is the checkpoint of an earlier SLURM job, and Lightning would "
            f"load it in place of what the settings name; give --ckpt_path {found[-1]} to load it, or move it away"
        )


def check_output(
    command: str, trainer: Trainer, module: LightningModule, data: LightningDataModule | None = None
) -> None:
    """Refuse a ``validate``, ``test`` or ``predict`` without any output.

    A callback or module has output if it defines a hook for the end of a batch or of the whole command. Probes and
    rewards do not count: their scores are written by ``Evaluation``.

    Args:
        command: ``validate``, ``test`` or ``predict``.
        trainer: Trainer with the run's callbacks.
        module: Module of the run.
        data: Data module of the run, whose task has the language to score by; ``None`` if it is not known.

    Raises:
        ValueError: If nothing is scored or written, or if ``predict`` is run with an encoder, which writes no text.
    """
    if command == "predict" and isinstance(module, EncoderModule):
        raise ValueError(NO_TEXT)
    stage = _STAGES[command]
    hooks = [f"on_{stage}_{end}" for end in ("batch_end", "epoch_end", "end")]
    if any(isinstance(c, Evaluation) or any(_is_users(c, hook) for hook in hooks) for c in callbacks_of(trainer)):
        return
    if any(_package(module, hook) != "lightning" for hook in hooks) or _is_users(module, f"{stage}_step"):
        return
    tasks = prompt_tasks(data).values() if isinstance(data, CorpusDataModule) else ()
    language = next((task.target_language for task, _ in tasks), "") or "bo"
    raise ValueError(
        f"trainer.callbacks: {command} would leave nothing, since no callback scores or writes what the model says; "
        f"add {{class_path: Evaluation, init_args: {{language: {language}}}}}, which {_WRITES[command]}"
    )


def _is_users(owner: object, name: str) -> bool:
    return _package(owner, name) not in ("lightning", "semalign_pl")


def _package(owner: object, name: str) -> str:
    """Package of the class that defines a method."""
    return next((c.__module__.split(".")[0] for c in type(owner).__mro__ if name in vars(c)), "lightning")
