"""What every trained stage shares: optimiser, gradients by sums, checkpoints of one stage, and randomness by step."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from semalign_pl.modules.schedule import Cosine, ScheduleCallable


class StageModule(LightningModule):
    """One stage of training, which leaves a folder for the next one; subclasses give ``training_step`` and ``export``.

    Optimisation is manual: a batch is one optimiser step, split into micro-batches whose losses are *sums* divided
    once by the denominator of the whole step over all ranks, and gradients are summed over ranks once a step. So
    neither the micro-batch size nor the number of GPUs changes the gradient (dropout, drawn a micro-batch, apart).

    Args:
        optimizer: Optimiser of what is trained (float32).
        lr_scheduler: Schedule; told the run's number of optimiser steps.
        max_grad_norm: Gradients are clipped to this norm.
        seed: Source of fresh weights, dropout and sampling; linked to seed_everything by the CLI.

    Attributes:
        stage: Name of the stage, in checkpoints and as default folder of a run.
        handover: How another stage's result is taken up; said to whom resumes from its checkpoint instead.
    """

    stage: ClassVar[str] = ""
    handover: ClassVar[str] = ""

    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: ScheduleCallable = Cosine,
        max_grad_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.max_grad_norm = max_grad_norm
        self.seed = seed

    def export(self, root: Path) -> Path:
        """Write what was trained, as a plain folder inside the run's.

        Args:
            root: Folder to write it in. ``Export`` gives a temporary one, from which the folder written moves into the
                run's when it is whole.

        Returns:
            The folder written, directly in ``root``.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it leaves for the next stage")

    # -- set-up ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def setting_up(self) -> Iterator[torch.device]:
        """Randomness of fresh weights, a function of the seed alone; for ``configure_model``.

        Yields:
            The device they belong on.

        Raises:
            ValueError: If the strategy shards the model.
        """
        strategy = self.trainer.strategy
        if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
            raise ValueError(
                f"trainer.strategy: {type(strategy).__name__} shards the model, which no stage is built for; "
                "use `ddp`, which keeps one (quantised) replica a GPU"
            )
        with torch.random.fork_rng(devices=self._cuda_devices(strategy.root_device)):
            torch.manual_seed(self.seed)
            yield strategy.root_device

    def configure_optimizers(self) -> Any:
        """The optimiser over what is trained, and its schedule sized by the run's own count of steps."""
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        return {"optimizer": optimizer, "lr_scheduler": self.lr_scheduler(optimizer, self._total_steps())}

    def updates_per_batch(self) -> int:
        """Optimiser steps a batch."""
        return 1

    def _total_steps(self) -> int:
        # trainer.estimated_stepping_batches would build the train loader, which then replays data on resume.
        trainer = self.trainer
        steps = trainer.max_steps if trainer.max_steps > 0 else None
        data = getattr(trainer, "datamodule", None)
        if trainer.max_epochs is not None and trainer.max_epochs > 0 and data is not None:
            batches = len(data.train_dataloader())
            limit = trainer.limit_train_batches
            batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
            by_epochs = batches * trainer.max_epochs * self.updates_per_batch()
            steps = by_epochs if steps is None else min(steps, by_epochs)
        if steps is None:
            raise ValueError("trainer.max_steps: set it or trainer.max_epochs, so that the schedule knows its length")
        return max(1, steps)

    # -- one optimiser step ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def step_randomness(self) -> Iterator[int]:
        """Randomness that is a function of (seed, step, rank) and leaves the global generators untouched.

        Resuming therefore needs no saved random state, and nothing a probe or callback draws can change training.

        Yields:
            A seed for whatever takes one.
        """
        key = f"{self.seed}/{self.global_step}/{self.global_rank}"
        seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big")
        with torch.random.fork_rng(devices=self._cuda_devices(self.device)):
            torch.manual_seed(seed)
            yield seed

    def accumulate(self, loss: Tensor) -> None:
        """Backward of one part.

        Args:
            loss: Scalar, already divided by the whole step's denominator.
        """
        with self._unsynced():
            self.manual_backward(loss)

    def _unsynced(self) -> contextlib.AbstractContextManager[None]:
        """Without DDP's own averaging: ranks may differ in micro-batches, and ``update`` sums over them."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) else contextlib.nullcontext()

    def update(self) -> Tensor:
        """Sum gradients over ranks, clip, step optimiser and schedule.

        Returns:
            Gradient norm before clipping, scalar.

        Raises:
            RuntimeError: If the norm is not finite; the weights are then unchanged.
        """
        parameters = [p for p in self.parameters() if p.requires_grad]
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        if self.trainer.world_size > 1:
            gradients = [p.grad for p in parameters if p.grad is not None]
            flat = torch.cat([gradient.view(-1) for gradient in gradients])
            torch.distributed.all_reduce(flat)
            for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm, error_if_nonfinite=True)
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        return norm

    def sum_over_ranks(self, value: float) -> float:
        """Sum of a number over all ranks, e.g. the tokens of a step.

        Args:
            value: This rank's.
        """
        return float(self.trainer.strategy.reduce(torch.tensor(float(value), device=self.device), reduce_op="sum"))

    def log_train(self, values: Mapping[str, float | Tensor], rows: int) -> None:
        """Log numbers of one step under ``train/``, averaged over ranks.

        Args:
            values: Name to scalar; every rank must give the same names.
            rows: Rows they were averaged over.
        """
        for name, value in values.items():
            on_bar = name in ("loss", "reward", "kl")
            self.log(f"train/{name}", value, prog_bar=on_bar, batch_size=rows, sync_dist=True, on_step=True)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record which stage this is."""
        checkpoint["semalign"] = {"stage": self.stage}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another stage.

        Raises:
            ValueError: With the remedy.
        """
        saved = checkpoint.get("semalign", {"stage": "unknown"})["stage"]
        if saved != self.stage:
            raise ValueError(
                f"--ckpt_path: this is a checkpoint of stage {saved!r}, and the run is stage {self.stage!r}; "
                f"--ckpt_path resumes the same stage. {self.handover}"
            )

    @staticmethod
    def _cuda_devices(device: torch.device) -> list[torch.device]:
        return [device] if device.type == "cuda" else []
