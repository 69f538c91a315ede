"""Export of the trained weights, as a folder."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.trainer.states import TrainerFn

from semalign_pl.card.write import write_card
from semalign_pl.files.atomic import move_folder, temporary_folder
from semalign_pl.finite import Diverged
from semalign_pl.policy.adapter_folder import CONFIG
from semalign_pl.policy.adapter_start import start_facts
from semalign_pl.probes.base import time_in_probes
from semalign_pl.protocols import ExportableModule, ScaledModule, SignedCallback, missing_members
from semalign_pl.rewards.base import Reward
from semalign_pl.run.results import write_training
from semalign_pl.run.trainer import callbacks_of, may_write
from semalign_pl.types import Json

log = logging.getLogger(__name__)


class Export(Callback):
    """Let the module write its result into the run's folder when training ends: ``RUN/adapter`` or ``RUN/encoder``.

    A file ``training.json`` is written next to the weights. It has the stage, the steps, the seed, the adapter that the
    training started from, the signatures of the rewards (with a calibrated tau), and the results of their models on a
    sample of the corpus. A test of the adapter copies it into its ``results.json``. An adapter also gets a model card,
    ``README.md``. All files replace an earlier result together, and only when they are complete.
    """

    def __init__(self) -> None:
        super().__init__()
        self._ended = False

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this training has not ended yet.

        Raises:
            ValueError: If the module has no result to export.
        """
        _check(pl_module)
        self._ended = False

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Call ``on_train_end``, which Lightning leaves out if a resumed run has nothing left to train."""
        if not self._ended and trainer.global_step > 0:
            trainer.fit_loop.on_run_end()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export from rank 0."""
        self._export(trainer, pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Export a completed training, whatever fails after its last step, unless it has diverged."""
        if not self._ended and trained_to_the_end(trainer) and not isinstance(exception, Diverged):
            self._export(trainer, pl_module)

    def _export(self, trainer: Trainer, pl_module: LightningModule) -> None:
        self._ended = True
        if not may_write(trainer):
            return
        write_result(trainer, pl_module, Path(trainer.default_root_dir))


def write_result(
    trainer: Trainer, pl_module: LightningModule, parent: Path, name: str | None = None, **more: Json
) -> Path:
    """Write the current weights as a plain folder with its ``training.json``, both at once.

    Args:
        trainer: Trainer of the run.
        pl_module: Module under training.
        parent: Folder to write to.
        name: Name of the new folder in it; ``None`` for the module's own, ``adapter`` or ``encoder``.
        **more: Further facts for ``training.json``, such as ``steps`` of weights that are not those of the last step.

    Returns:
        Folder written.

    Raises:
        ValueError: If the module has no result to export, or its weights are not finite.
        WriteError: If the folder cannot be written; an old one is unchanged.
    """
    module, callbacks = _check(pl_module), callbacks_of(trainer)
    trials = {reward.name: reward.trial for reward in callbacks if isinstance(reward, Reward) and reward.trial}
    facts: dict[str, Json] = {"stage": module.stage, "steps": trainer.global_step, "seed": module.seed}
    facts["signatures"] = [callback.signature for callback in callbacks if isinstance(callback, SignedCallback)]
    if (spent := time_in_probes(trainer)) is not None:
        facts["probe_time_share"] = round(spent.share, 4)
    with temporary_folder(parent) as beside:  # weights and training.json are moved together
        folder = module.export(beside)
        target = parent / (name or folder.name)
        if isinstance(module, ScaledModule):
            facts |= start_facts(module.adapter, module.adapter_scale, module.scale_from, target)
        write_training(folder, **(facts | ({"reward_trials": trials} if trials else {}) | more))
        if (folder / CONFIG).is_file():
            try:
                write_card(folder, "adapter", Path(trainer.default_root_dir))
            except (ValueError, OSError) as error:  # another file; the adapter must not be lost for it
                log.warning("the model card of %s is not written: %s", target, error)
        move_folder(folder, target)
    return target


def _check(module: LightningModule) -> ExportableModule:
    if not isinstance(module, ExportableModule):
        raise missing_members("Export", module, "stage, seed and export(root)")
    return module


def trained_to_the_end(trainer: Trainer) -> bool:
    """Return true if the last step of a fit is done.

    Lightning counts an epoch as done only after its validation and the hooks that follow, any of which may fail.

    Args:
        trainer: Trainer of the run.
    """
    loop = trainer.fit_loop
    progress = loop.epoch_loop.batch_progress
    assert isinstance(progress.current, _ProcessedTracker)
    if trainer.state.fn != TrainerFn.FITTING or progress.current.processed < max(1, progress.current.ready):
        return False  # within a step, or before the first one
    last_of_epoch = progress.is_last_batch and 0 < (trainer.max_epochs or 0) <= trainer.current_epoch + 1
    return trainer.should_stop or last_of_epoch or 0 < trainer.max_steps <= trainer.global_step
