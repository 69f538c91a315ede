"""Leave the trained adapter as a plain PEFT folder."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.policy import policy_of


class AdapterExport(Callback):
    """Write ``RUN/adapter`` when training ends; the next stage, or PEFT itself, starts from it."""

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export from rank 0."""
        if trainer.is_global_zero:
            export_adapter(policy_of(pl_module), Path(trainer.default_root_dir) / "adapter")
