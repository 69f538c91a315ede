"""Callback that kills a process while it tests a point of a frontier."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback


class KillPoint(Callback):
    """Kill this process once, at the end of the test that writes to a folder of a name.

    Args:
        name: Last part of the folder's path.
        dirpath: Folder for the file ``struck``, so that a later process is not killed.
    """

    def __init__(self, name: str, dirpath: str) -> None:
        super().__init__()
        self.name, self.struck = name, Path(dirpath, "struck")

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if Path(trainer.default_root_dir).name == self.name and not self.struck.exists():
            self.struck.touch()
            os.kill(os.getpid(), signal.SIGKILL)
