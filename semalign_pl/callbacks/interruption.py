"""Nothing is lost when a run is asked to end."""

from __future__ import annotations

import contextlib
import logging
import math
import subprocess
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.environments.slurm import SLURMEnvironment
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import TrainerFn

from semalign_pl.callbacks.checkpoint_files import CheckpointError
from semalign_pl.run.folder import may_write
from semalign_pl.run.signals import ASKING, GRACE_SECONDS, Request, Stopped, install

log = logging.getLogger(__name__)


class InterruptionCheckpoint(Callback):
    """Write ``RUN/checkpoints/interrupted.ckpt`` when training ends by a signal or an error, and say how to go on.

    Ctrl-C, SIGTERM, SIGHUP and SIGUSR1 let the step finish first, so that the run goes on exactly where it stopped; a
    second signal does not wait. With several processes, a signal to one of them stops all of them after the same step.
    In validation the batch is finished, and the validation is done anew when the run goes on. An export, or the results
    of a test, are finished. Where a step breaks off, by a second signal or an error, its batch counts as seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._request = Request(waits=True)
        self._began_at = self._common = 0
        self._saved = self._done = False

    # -- training ----------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals, Lightning's own SIGTERM and SLURM handlers included."""
        self._take_over(trainer, waits=True)
        self._began_at, self._saved = trainer.global_step, False

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save here if asked to stop; stop at the next hook, when this step's metrics are logged."""
        if self._agree(trainer):
            self._save(trainer)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop if asked to."""
        self._stop_if_saved()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop if asked to."""
        self._stop_if_saved()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on there is nothing to go on with; a signal is answered when all is written."""
        self._done = True

    # -- validation, test and predict --------------------------------------------------------------------------

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop between step and validation if asked to; take over the signals of ``validate``."""
        self._stop_if_saved()
        if trainer.state.fn == TrainerFn.VALIDATING:
            self._take_over(trainer, waits=trainer.world_size > 1)
        self._common = _common_batches(trainer, trainer.val_dataloaders)

    def on_test_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals."""
        self._take_over(trainer, waits=trainer.world_size > 1)
        self._common = _common_batches(trainer, trainer.test_dataloaders)

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals."""
        self._take_over(trainer, waits=trainer.world_size > 1)
        self._common = _common_batches(trainer, trainer.predict_dataloaders)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop here if asked to; in training, save first."""
        if not trainer.sanity_checking:
            self._stop_between_batches(trainer, args[3])

    def on_test_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop here if asked to."""
        self._stop_between_batches(trainer, args[3])

    def on_predict_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        """Stop here if asked to."""
        self._stop_between_batches(trainer, args[3])

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on results are written, and a signal waits for them."""
        self._request.waits = self._done = True

    def on_predict_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """From here on predictions are written, and a signal waits for them."""
        self._request.waits = self._done = True

    # -- the end -----------------------------------------------------------------------------------------------

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Answer a signal that came while the last was written; Lightning has given the signals back by now."""
        if number := self._agree(trainer):
            raise Stopped(number)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save what has been trained so far, and leave no process behind.

        The handlers stay until Lightning's own clean-up, which follows, restores those from before the run.
        """
        trained = trainer.state.fn == TrainerFn.FITTING and trainer.global_step > self._began_at
        # With several processes other ranks may be gone, and saving waits for all of them.
        if trained and not self._saved and not self._done and trainer.world_size == 1 and may_write(trainer):
            try:
                self._save(trainer)
            except CheckpointError as error:  # must not hide why training ended, nor keep the loggers from ending
                if not isinstance(exception, CheckpointError):
                    log.warning("%s", error)
        if isinstance(exception, Stopped):
            _end_children(trainer, wait=self._saved or self._done)

    def _take_over(self, trainer: Trainer, waits: bool) -> None:
        self._request, self._done = Request(waits), False
        environment: Any = trainer._accelerator_connector.cluster_environment
        requeue = getattr(environment, "requeue_signal", None)
        install(self._request, ASKING if requeue is None else {*ASKING, requeue})

    def _agree(self, trainer: Trainer) -> int:
        """Number of the signal that any rank got, the same on all; 0 for none."""
        if trainer.world_size > 1:
            here = torch.tensor(self._request.number, device=trainer.strategy.root_device)
            number = int(trainer.strategy.reduce(here, reduce_op="max"))
            if number and not self._request.number:
                self._request.note(number)
        return self._request.number

    def _stop_between_batches(self, trainer: Trainer, batch_idx: int) -> None:
        # A rank may have a batch more than another; only those that all have can be agreed upon.
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
        path = Path(trainer.default_root_dir) / "checkpoints" / "interrupted.ckpt"
        trainer.save_checkpoint(path)
        if trainer.is_global_zero:
            log.warning("interrupted at step %d; %s", trainer.global_step, resume_hint(trainer, path))


def resume_hint(trainer: Trainer, checkpoint: Path) -> str:
    """Say how an interrupted run goes on.

    Args:
        trainer: Trainer of the run.
        checkpoint: Checkpoint that was written.
    """
    hint = f"go on with --ckpt_path {checkpoint}"
    environment = trainer._accelerator_connector.cluster_environment
    if isinstance(environment, SLURMEnvironment) and environment.auto_requeue:
        hint += (
            "; SLURM's job is not requeued from here: on a status above 128, let the job script call scontrol requeue "
            "$SLURM_JOB_ID and start the run with this flag"
        )
    return hint


def _common_batches(trainer: Trainer, loaders: Any) -> int:
    """Evaluation batches that every rank has, since no rank has fewer rows than the whole part of its share."""
    loader: Any = loaders[0] if isinstance(loaders, list) and loaders else loaders
    try:
        return math.ceil(len(loader.dataset) // trainer.world_size / loader.batch_size)
    except (AttributeError, TypeError):  # not a loader that knows its length
        return 0


def _validate_anew(trainer: Trainer) -> None:
    """Let a resumed run begin the validation under way from its first batch.

    Lightning resumes a validation that was saved within a step; it counts the batches done and yet reads from the
    first one, so that the last ones would be left out. It is told that the first batch was begun.
    """
    progress: Any = trainer.fit_loop.epoch_loop.val_loop.batch_progress
    progress.total.completed = progress.total.processed = progress.total.completed - progress.current.completed
    progress.current.completed = progress.current.processed = 0
    progress.total.ready = progress.total.started = progress.total.completed + 1
    progress.current.ready = progress.current.started = 1
    progress.is_last_batch = False


def _end_children(trainer: Trainer, wait: bool) -> None:
    """End the ranks that this process started.

    Args:
        trainer: Trainer of the run.
        wait: They stop by themselves.
    """
    children: list[subprocess.Popen[Any]] = getattr(trainer.strategy.launcher, "procs", [])
    # Lightning watches this very list, and kills this process where one of them ends with a status.
    mine, children[:] = list(children), []
    for child in mine:
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE_SECONDS / 2 if wait else 0)
        child.kill()
        child.wait()
