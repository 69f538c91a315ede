"""Nothing is lost on Ctrl-C."""

from __future__ import annotations

import logging
import signal
import threading
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.callbacks.checkpoint_files import CheckpointError
from semalign_pl.run_folder import may_write

log = logging.getLogger(__name__)


class InterruptionCheckpoint(Callback):
    """Write ``RUN/checkpoints/interrupted.ckpt`` when training ends in Ctrl-C or an error, and say how to go on.

    Ctrl-C lets the step finish first, so that the run goes on exactly where it stopped; a second Ctrl-C does not wait.
    Where a step breaks off, by that or an error, its batch counts as seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._asked = False
        self._before: Any = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over Ctrl-C, but not with several processes: each would stop at a step of its own."""
        if trainer.world_size == 1 and threading.current_thread() is threading.main_thread():
            self._asked, self._before = False, signal.signal(signal.SIGINT, self._ask)

    def _ask(self, *_: Any) -> None:
        if self._asked:
            raise KeyboardInterrupt
        self._asked = True
        log.warning("Ctrl-C: finishing this step, then saving; press it again to stop at once")

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Stop here if asked to."""
        if self._asked:
            raise KeyboardInterrupt

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give Ctrl-C back."""
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save what has been trained so far."""
        if not isinstance(exception, KeyboardInterrupt):  # after which Lightning ignores Ctrl-C and exits
            self._restore()
        if not trainer.training or trainer.global_step == 0 or trainer.world_size > 1 or not may_write(trainer):
            return  # nothing trained, or a trial; or other ranks may be gone, and saving waits for all of them
        path = Path(trainer.default_root_dir) / "checkpoints" / "interrupted.ckpt"
        try:
            trainer.save_checkpoint(path)
        except CheckpointError as error:  # must not hide why training ended, nor keep the loggers from ending
            if not isinstance(exception, CheckpointError):
                log.warning("%s", error)
            return
        log.warning("interrupted at step %d; go on with --ckpt_path %s", trainer.global_step, path)

    def _restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)
            self._before = None
