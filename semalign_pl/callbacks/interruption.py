"""Checkpoint of a run that is asked to end, so that no training is lost."""

from __future__ import annotations

import contextlib
import logging
import math
import subprocess
from collections.abc import Sized
from pathlib import Path

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loops.progress import _ProcessedTracker
from lightning.pytorch.strategies.launchers.subprocess_script import _SubprocessScriptLauncher
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch.utils.data import DataLoader

from semalign_pl.callbacks.checkpoint_files import CheckpointError
from semalign_pl.finite import Diverged
from semalign_pl.run.signals import ASKING, GRACE_SECONDS, Stopped, StopRequest, install
from semalign_pl.run.trainer import is_trial

log = logging.getLogger(__name__)


class InterruptionCheckpoint(Callback):
    """Write ``RUN/checkpoints/interrupted.ckpt`` if a signal or an error ends training, and log how to resume.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 let the step finish first, so that the run resumes exactly where it stopped. A
    second signal does not wait. With several processes, a signal to one of them stops all of them after the same step.
    In validation, the batch is finished, and the resumed run repeats the validation. An export and the results of a
    test are finished. If a second signal or an error interrupts a step, its batch comes again on resume.
    """

    def __init__(self) -> None:
        super().__init__()
        self._request = StopRequest(waits=True)
        self._began_at = self._common = 0
        self._saved = self._done = False

    # -- training ----------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers, in place of Lightning's own for SIGTERM and SLURM."""
        self._take_over(trainer, waits=True)
        self._began_at, self._saved = trainer.global_step, False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Save if asked to stop; the next hook stops, after this step's metrics are logged."""
        if self._agree(trainer):
            self._save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Stop if asked to, once the checkpoint is saved."""
        self._stop_if_saved()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if asked to, once the checkpoint is saved."""
        self._stop_if_saved()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that training is done: from now on, a signal waits until all files are written, and nothing is saved."""
        self._done = True

    # -- validation, test and predict --------------------------------------------------------------------------

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between step and validation if asked to; install the signal handlers under ``validate``."""
        self._stop_if_saved()
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._take_over(trainer, waits=trainer.world_size > 1)
        self._common = _common_batches(trainer, trainer.val_dataloaders)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers."""
        self._take_over(trainer, waits=trainer.world_size > 1)
        self._common = _common_batches(trainer, trainer.test_dataloaders)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Install the signal handlers."""
        self._take_over(trainer, waits=trainer.world_size > 1)
        self._common = _common_batches(trainer, trainer.predict_dataloaders)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop if asked to; in training, save first."""
        if not trainer.sanity_checking:
            self._stop_between_batches(trainer, batch_idx)

    def on_test_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop if asked to."""
        self._stop_between_batches(trainer, batch_idx)

    def on_predict_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: STEP_OUTPUT,
        batch: object,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Stop if asked to."""
        self._stop_between_batches(trainer, batch_idx)

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals wait from now on, while results are written."""
        self._request.waits = self._done = True

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let signals wait from now on, while predictions are written."""
        self._request.waits = self._done = True

    # -- the end -----------------------------------------------------------------------------------------------

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Stop if a signal came while the last files were written; Lightning has restored its handlers by now."""
        if number := self._agree(trainer):
            raise Stopped(number)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the training so far; after a signal, also end the processes that this one started.

        The signal handlers stay installed until Lightning's own clean-up, which follows, restores those from before the
        run.
        """
        trained = trainer.state.fn == TrainerFn.FITTING and trainer.global_step > self._began_at
        # With several processes, other ranks may have ended, and saving would wait for them.
        worth_saving = trained and not self._done and not isinstance(exception, Diverged)
        if worth_saving and not self._saved and trainer.world_size == 1:
            try:
                self._save(trainer)
            except (CheckpointError, Diverged) as error:  # must not hide why training ended, nor stop the clean-up
                if not isinstance(exception, CheckpointError):
                    log.warning("%s", error)
        if isinstance(exception, Stopped):
            _end_children(trainer, wait=self._saved or self._done)

    def _take_over(self, trainer: Trainer, waits: bool) -> None:
        self._request, self._done = StopRequest(waits), False
        environment = trainer._accelerator_connector.cluster_environment
        requeue = environment.requeue_signal if isinstance(environment, SLURMEnvironment) else None
        install(self._request, ASKING if requeue is None else {*ASKING, requeue})

    def _agree(self, trainer: Trainer) -> int:
        """Number of the signal that any rank received, the same on all ranks; 0 for none."""
        if trainer.world_size > 1:
            here = torch.tensor(self._request.number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(here, reduce_op="max"))
            if number and not self._request.number:
                self._request.note(number)
        return self._request.number

    def _stop_between_batches(self, trainer: Trainer, batch_idx: int) -> None:
        # A rank may have one batch more than another, but ranks can only agree in batches that all of them have.
        if (trainer.world_size == 1 or batch_idx < self._common) and (number := self._agree(trainer)):
            if trainer.state.fn == TrainerFn.FITTING:
                self._save(trainer)
            raise Stopped(number)

    def _stop_if_saved(self) -> None:
        if self._saved:
            raise Stopped(self._request.number)

    def _save(self, trainer: Trainer) -> None:
        if trainer.validating:
            _validate_anew(trainer)
        self._saved = True
        if is_trial(trainer):
            if trainer.is_global_zero:
                log.warning("interrupted at step %d; nothing is saved, as this is a trial", trainer.global_step)
            return
        path = Path(trainer.default_root_dir) / "checkpoints" / "interrupted.ckpt"
        trainer.save_checkpoint(path, weights_only=False)  # the default, which Lightning would name in a message
        if trainer.is_global_zero:
            log.warning("interrupted at step %d; %s", trainer.global_step, resume_hint(trainer, path))


def resume_hint(trainer: Trainer, checkpoint: Path) -> str:
    """Hint on how to resume an interrupted run.

    Args:
        trainer: Trainer of the run.
        checkpoint: Path of the saved checkpoint.
    """
    hint = f"go on with --ckpt_path {checkpoint}"
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        hint += (
            "; SLURM's job is not requeued from here: on a status above 128, let the job script call scontrol requeue "
            "$SLURM_JOB_ID and start the run with this flag"
        )
    return hint


def _common_batches(trainer: Trainer, loaders: object) -> int:
    """Number of evaluation batches that every rank has; no rank has fewer than ``rows // ranks`` rows."""
    loader = loaders[0] if isinstance(loaders, list) and loaders else loaders
    if not isinstance(loader, DataLoader) or not isinstance(loader.dataset, Sized) or loader.batch_size is None:
        return 0  # a loader of unknown length
    return math.ceil(len(loader.dataset) // trainer.world_size / loader.batch_size)


def _validate_anew(trainer: Trainer) -> None:
    """Let a resumed run repeat the current validation from its first batch.

    Lightning resumes a validation that was saved within a step: it counts the batches done, but reads from the first
    one, so that the last ones would be left out. The counters are therefore set as if only the first batch had begun.
    """
    progress = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    total, current = progress.total, progress.current
    assert isinstance(total, _ProcessedTracker) and isinstance(current, _ProcessedTracker)
    total.completed = total.processed = total.completed - current.completed
    current.completed = current.processed = 0
    total.ready = total.started = total.completed + 1
    current.ready = current.started = 1
    progress.is_last_batch = False


def _end_children(trainer: Trainer, wait: bool) -> None:
    """End the ranks that this process started.

    Args:
        trainer: Trainer of the run.
        wait: Flag to give them time to stop by themselves.
    """
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher):
        return
    children = launcher.procs
    # Lightning watches this list, and kills this process if one of them ends with an error status.
    mine, children[:] = list(children), []
    for child in mine:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS / 2 if wait else 0)
        child.kill()
        child.wait()
