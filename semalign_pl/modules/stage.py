"""What every trained stage shares: optimiser, gradients by sums, checkpoints of one stage, and randomness by step."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from semalign_pl.finite import check_finite, check_to_write, check_weights, diverged
from semalign_pl.modules.loss_scale import LossScale
from semalign_pl.modules.progress import Place, finish_batch, read_place, set_place, set_rows
from semalign_pl.modules.schedule import Cosine, ScheduleCallable, build_schedule
from semalign_pl.modules.settings import Settings, built_settings, compare_settings
from semalign_pl.modules.supported import check_trainer
from semalign_pl.run.folder import may_write
from semalign_pl.run.history import cut_history

log = logging.getLogger(__name__)


class StageModule(LightningModule):
    """One stage of training, which leaves a folder for the next one; subclasses give ``training_step`` and ``export``.

    Optimisation is manual: a batch is one optimiser step, split into micro-batches whose losses are *sums* divided
    once by the denominator of the whole step over all ranks, and gradients are summed over ranks once a step. So
    neither the micro-batch size nor the number of GPUs changes the gradient (dropout, drawn a micro-batch, apart).

    Args:
        optimizer: Optimiser of what is trained (float32).
        lr_scheduler: Schedule, stepped once per optimiser step; it is told their number where it asks (total_steps, …).
        max_grad_norm: Gradients are clipped to this norm.
        seed: Source of fresh weights, dropout and sampling; linked to seed_everything by the CLI.

    Attributes:
        stage: Name of the stage, in checkpoints and as default folder of a run.
        updates_tried: Calls of ``update`` in this process, those that float16 skipped included.
        handover: How another stage's result is taken up; said to whom resumes from its checkpoint instead.
        settings: Settings of the run, kept in its checkpoints; the command line fills them in.
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
        self.updates_tried = 0
        self._loss_scale = LossScale()
        self.settings: Settings = {}
        self._built: Settings = {}  # of optimiser and schedule
        self._built_before: Settings = {}  # in the checkpoint that the run goes on from
        self._place: Place | None = None  # where the run goes on
        self._steps_at_batch_end = 0

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
            ValueError: If the strategy shards the model, or the trainer has a precision or callback that cannot be
                honoured.
        """
        strategy = self.trainer.strategy
        if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
            raise ValueError(
                f"trainer.strategy: {type(strategy).__name__} shards the model, which no stage is built for; "
                "use `ddp`, which keeps one (quantised) replica a GPU"
            )
        check_trainer(self.trainer)
        with torch.random.fork_rng(devices=self._cuda_devices(strategy.root_device)):
            torch.manual_seed(self.seed)
            yield strategy.root_device

    def configure_optimizers(self) -> Any:
        """The optimiser over what is trained, and its schedule sized by the run's own count of steps."""
        optimizer = self.optimizer([p for p in self.parameters() if p.requires_grad])
        schedule = build_schedule(self.lr_scheduler, optimizer, self._total_steps())
        self._built = built_settings(optimizer, schedule)
        compare_settings(self._built_before, self._built, self.handover)
        self._built_before = {}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

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

    def setup(self, stage: str) -> None:
        """Forget the checkpoint of an earlier run of this object."""
        self._place, self._built_before = None, {}

    def on_train_start(self) -> None:
        """Go on where the checkpoint was written."""
        self._steps_at_batch_end = self.global_step
        if self._place is None:
            return
        if may_write(self.trainer):
            folder, finished = Path(self.trainer.default_root_dir), self._place.validated or not self._place.batches
            cut_history(folder, self._place.total, self.global_step, finished)
        finish_batch(self.trainer, self._place)
        self._place = None

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Note the steps made, so that a checkpoint says whether it was written within a batch's."""
        self._steps_at_batch_end = self.global_step

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

        Where float16 overflows (``precision: 16-mixed``) the step is skipped on all ranks: neither weights, schedule
        nor ``global_step`` move, so ``max_steps`` counts the steps that were made.

        Returns:
            Gradient norm before clipping, scalar, without the loss scale; not finite where the step was skipped.

        Raises:
            ValueError: If the norm is not finite (the weights are then unchanged), or the weights are not after the
                step.
        """
        self.updates_tried += 1
        parameters = [p for p in self.parameters() if p.requires_grad]
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        gradients = [p.grad for p in parameters if p.grad is not None]
        if self.trainer.world_size > 1:
            flat = torch.cat([gradient.view(-1) for gradient in gradients])
            torch.distributed.all_reduce(flat)
            for gradient, part in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(part.view_as(gradient))
        optimizer: Any = self.optimizers()
        schedule: Any = self.lr_schedulers()
        plugin = self.trainer.precision_plugin
        scale = self._loss_scale.value(plugin, self.device)
        norm = torch.nn.utils.get_total_norm(gradients) / scale
        finite = bool(norm.isfinite())
        if finite:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_grad_norm, norm)
            rate = optimizer.param_groups[0]["lr"]
            optimizer.step()
            check_weights(parameters, self.global_step, rate)
            schedule.step()
            self._loss_scale.skipped_in_a_row = 0
        elif getattr(plugin, "scaler", None) is None:
            raise diverged("the gradient norm", norm, self.global_step + 1, optimizer.param_groups[0]["lr"])
        else:
            self._loss_scale.skip(plugin, optimizer.optimizer, self.global_step + 1, norm)
        optimizer.zero_grad()
        if getattr(plugin, "scaler", None) is not None:
            self.log_dict({"train/loss_scale": scale, "train/step_skipped": float(not finite)}, batch_size=1)
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
        """Record which stage this is, its settings, and whether the optimiser is between two batches.

        Raises:
            ValueError: If the weights are not finite: an earlier checkpoint is worth more than this one.
        """
        check_to_write(checkpoint["state_dict"], "the checkpoint")
        steps = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        within = steps.ready != steps.completed  # broken off inside the optimiser
        checkpoint["semalign"] = {
            "stage": self.stage,
            "settings": dict(self.settings),
            "built": dict(self._built),
            "steps_in_batch": self.global_step - self._steps_at_batch_end + within,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another stage, of other settings, written within a step, or with NaN weights.

        Raises:
            ValueError: With the remedy.
        """
        saved = checkpoint.get("semalign", {"stage": "unknown"})
        if saved["stage"] != self.stage:
            raise ValueError(
                f"--ckpt_path: this is a checkpoint of stage {saved['stage']!r}, and the run is stage {self.stage!r}; "
                f"--ckpt_path resumes the same stage. {self.handover}"
            )
        path = self.trainer.ckpt_path or "the checkpoint"
        check_finite(
            checkpoint["state_dict"], f"--ckpt_path: {path} holds", "its run had diverged; give an earlier checkpoint"
        )
        if self.trainer.state.fn != TrainerFn.FITTING:
            return
        if "settings" not in saved:
            log.warning(
                "--ckpt_path: an earlier version wrote this checkpoint; its settings cannot be compared with these"
            )
        for change in compare_settings(saved.get("settings", {}), self.settings, self.handover):
            log.warning("--ckpt_path: %s; the learning-rate schedule is that of the new length from here on", change)
        self._built_before = saved.get("built", {})
        fit_loop = checkpoint["loops"]["fit_loop"]
        self._place = read_place(fit_loop)
        if self._place.broken_off and saved.get("steps_in_batch"):
            raise ValueError(
                "--ckpt_path: this checkpoint was written within a batch, after some of its optimiser steps, so the "
                "run cannot go on from it exactly; give an earlier one"
            )
        set_place(fit_loop, self._place)
        data: Any = getattr(self.trainer, "datamodule", None)
        if hasattr(data, "batch_size"):
            set_rows(checkpoint.get(type(data).__qualname__, {}), self._place, data.batch_size)

    @staticmethod
    def _cuda_devices(device: torch.device) -> list[torch.device]:
        return [device] if device.type == "cuda" else []
