"""Nothing is lost on Ctrl-C."""

from __future__ import annotations

import logging
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

log = logging.getLogger(__name__)


class InterruptionCheckpoint(Checkpoint):
    """Write ``RUN/checkpoints/interrupted.ckpt`` when training ends in Ctrl-C or an error, and say how to go on."""

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save what has been trained so far."""
        if not trainer.training or trainer.global_step == 0 or trainer.world_size > 1:
            return  # nothing trained; or other ranks may be gone, and saving waits for all of them
        path = Path(trainer.default_root_dir) / "checkpoints" / "interrupted.ckpt"
        trainer.save_checkpoint(path)
        log.warning("interrupted at step %d; go on with --ckpt_path %s", trainer.global_step, path)
