"""Base of all stages: optimiser, summed gradients, per-step randomness, and checkpoints that only one stage loads."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.core.optimizer import LightningOptimizer
from lightning.pytorch.plugins.precision import MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import STEP_OUTPUT, OptimizerLRScheduler
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from semalign_pl.finite import check_to_write, check_weights, divergence_error
from semalign_pl.messages.error_text import first_line
from semalign_pl.modules.loss_scale import LossScale, scaler_of
from semalign_pl.modules.parameter_groups import Groups, parameter_groups
from semalign_pl.modules.run_place import Place, finish_batch, set_rows
from semalign_pl.modules.schedule import Cosine, ScheduleCallable, build_schedule
from semalign_pl.modules.settings import Settings, built_settings, compare_settings
from semalign_pl.modules.stage_checkpoint import Checkpoint, check_stage, compare_with_run, resume_place
from semalign_pl.modules.supported import check_trainer
from semalign_pl.policy.base_checks import warn_slow_bf16
from semalign_pl.protocols import BatchedData
from semalign_pl.run.history import cut_history
from semalign_pl.run.trainer import count_batches, count_steps, data_module_of, may_write

SumAndCount = tuple[Tensor | float, Tensor | float]
"""Sum of values, and their number."""


def check_counts(**counts: int) -> None:
    """Refuse settings of a module that must be positive whole numbers, and are not.

    Args:
        **counts: Value of each setting.

    Raises:
        ValueError: Names the setting.
    """
    for name, value in counts.items():
        if value < 1:
            raise ValueError(f"model.init_args.{name}: {value} is not a positive whole number; give 1 or more")


class StageModule(LightningModule):
    """One stage of training, whose result the next stage loads; subclasses implement ``training_step`` and ``export``.

    Optimisation is manual. A batch is one optimiser step, split into micro-batches. Their losses are *sums*, divided
    once by the denominator of the whole step over all ranks, and gradients are summed over ranks once per step. So
    neither the micro-batch size nor the number of GPUs changes the gradient, except for dropout, which is drawn per
    micro-batch.

    Args:
        optimizer: Optimiser of the trained weights (float32).
        lr_scheduler: Learning-rate schedule, stepped once per optimiser step. It gets the number of steps of the run if
            it has a parameter for it (total_steps, …).
        max_grad_norm: Maximum gradient norm; larger gradients are clipped to it.
        seed: Seed of new weights, dropout and sampling; the CLI sets it from seed_everything.

    Attributes:
        stage: Name of the stage, in checkpoints and as default folder of a run.
        updates_tried: Number of calls of ``update`` in this process, including steps that float16 skipped.
        resume_hint: Sentence for error messages: how to start from another stage's result instead of its checkpoint.
        settings: Settings of the run, saved in its checkpoints; the command line fills them in.
    """

    stage: ClassVar[str] = ""
    resume_hint: ClassVar[str] = ""

    def __init__(
        self,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: ScheduleCallable = Cosine,
        max_grad_norm: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not max_grad_norm > 0:
            raise ValueError(
                f"model.init_args.max_grad_norm: {max_grad_norm:g}: a clipped gradient would be 0, or point "
                "uphill; give a number above 0, e.g. 1.0, or .inf to clip none"
            )
        self.automatic_optimization = False
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.max_grad_norm = max_grad_norm
        self.seed = seed
        self.updates_tried = 0
        self._loss_scale = LossScale()
        self.settings: Settings = {}
        self._built: Settings = {}  # settings of optimiser and schedule
        self._built_before: Settings = {}  # those of the checkpoint that the run resumes from
        self._place: Place | None = None  # place at which the run resumes
        self._steps_at_batch_end = 0

    def export(self, root: Path) -> Path:
        """Write the trained result as a plain folder in the run's folder.

        Args:
            root: Folder to write to. ``Export`` gives a temporary one, and moves the result into the run's folder once
                it is complete.

        Returns:
            Folder of the result, directly in ``root``.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what it leaves for the next stage")

    # -- set-up ------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def setting_up(self) -> Iterator[torch.device]:
        """Make the initialisation of new weights a function of the seed alone; for ``configure_model``.

        Yields:
            Device for the weights.

        Raises:
            ValueError: If the strategy shards the model, or the trainer has a precision or callback that is refused.
        """
        strategy = self.trainer.strategy
        if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
            raise ValueError(
                f"trainer.strategy: {type(strategy).__name__} shards the model, so that each forward waits for all "
                "processes, which have different numbers of them here (micro-batches, decoded tokens) and would wait "
                "forever; use `ddp`, which keeps one (quantised) replica per GPU; docs/scaling.md says what fits"
            )
        check_trainer(self.trainer)
        if isinstance(self.trainer.precision_plugin, MixedPrecision):
            warn_slow_bf16("trainer.precision", "bf16-mixed", "32-true", strategy.root_device)
        with torch.random.fork_rng(devices=self._cuda_devices(strategy.root_device)):
            torch.manual_seed(self.seed)
            yield strategy.root_device

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Build the optimiser of the trained weights, and its schedule for the number of steps of the run.

        Raises:
            ValueError: If optimiser or schedule cannot be built, or the settings differ from those of the checkpoint.
        """
        try:
            optimizer = self.optimizer(self.parameter_groups())
        except ValueError as error:  # torch refuses a value, such as a learning rate below 0
            raise ValueError(f"model.init_args.optimizer: {first_line(error)}; change its init_args") from error
        schedule = build_schedule(self.lr_scheduler, optimizer, self._total_steps())
        self._built = built_settings(optimizer, schedule)
        compare_settings(self._built_before, self._built, self.resume_hint)
        self._built_before = {}
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def parameter_groups(self) -> Groups:
        """Trained weights, as the optimiser takes them."""
        return parameter_groups(self.named_parameters())

    def updates_per_batch(self) -> int:
        """Number of optimiser steps per batch."""
        return 1

    def _total_steps(self) -> int:
        # trainer.estimated_stepping_batches would build the train loader, which then repeats data after a resume.
        trainer, data, batches = self.trainer, data_module_of(self.trainer), math.inf
        if trainer.max_epochs is not None and trainer.max_epochs > 0 and data is not None:
            batches = count_batches(trainer, data.train_dataloader())
        steps = count_steps(trainer, self, batches)
        if steps is None:
            raise ValueError("trainer.max_steps: set it or trainer.max_epochs, so that the schedule knows its length")
        return max(1, steps)

    def setup(self, stage: str) -> None:
        """Forget the checkpoint of an earlier run of this object."""
        self._place, self._built_before = None, {}

    def on_train_start(self) -> None:
        """Resume at the place where the checkpoint was written."""
        self._steps_at_batch_end = self.global_step
        if self._place is None:
            return
        if may_write(self.trainer):
            folder, finished = Path(self.trainer.default_root_dir), self._place.validated or not self._place.batches
            cut_history(folder, self._place.total, self.global_step, finished)
        finish_batch(self.trainer, self._place)
        self._place = None

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: object, batch_idx: int) -> None:
        """Record the number of steps, to tell whether a checkpoint is written between the steps of a batch."""
        self._steps_at_batch_end = self.global_step

    # -- one optimiser step ------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def step_randomness(self) -> Iterator[int]:
        """Make randomness a function of (seed, step, rank); the global generators are restored.

        So resuming needs no saved random state, and random numbers drawn by a probe or callback cannot change training.

        Yields:
            Seed of the step, for functions that take one.
        """
        key = f"{self.seed}/{self.global_step}/{self.global_rank}"
        seed = int.from_bytes(hashlib.blake2b(key.encode(), digest_size=6).digest(), "big")
        with torch.random.fork_rng(devices=self._cuda_devices(self.device)):
            torch.manual_seed(seed)
            yield seed

    def accumulate(self, loss: Tensor) -> None:
        """Run backward on the loss of one chunk of the step, adding to the gradients.

        Args:
            loss: Loss of the chunk, scalar, already divided by the denominator of the whole step.
        """
        with self._block_sync():
            self.manual_backward(loss)

    def _block_sync(self) -> contextlib.AbstractContextManager[None]:
        """Switch off DDP's averaging: ranks have unequal numbers of micro-batches, and ``update`` sums gradients."""
        strategy = self.trainer.strategy
        return strategy.block_backward_sync() if isinstance(strategy, DDPStrategy) else contextlib.nullcontext()

    def update(self) -> Tensor:
        """Sum gradients over ranks, clip them, and step optimiser and schedule.

        If float16 overflows (``precision: 16-mixed``), all ranks skip the step: weights, schedule and ``global_step``
        stay the same, so ``max_steps`` counts only the steps that were made.

        Returns:
            Gradient norm before clipping, scalar, without the loss scale; not finite if the step was skipped.

        Raises:
            ValueError: If the norm is not finite (the weights are then unchanged), or if the weights are not finite
                after the step.
        """
        self.updates_tried += 1
        parameters = [p for p in self.parameters() if p.requires_grad]
        # A rank without rows has no gradients, but all ranks must take part in the sum.
        for p in parameters:
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
        gradients = [p.grad for p in parameters if p.grad is not None]
        # Sum, not mean: the losses are already divided by the denominator of all ranks.
        if self.trainer.world_size > 1:
            flat = torch.cat([gradient.view(-1) for gradient in gradients])
            torch.distributed.all_reduce(flat)
            for gradient, summed in zip(gradients, flat.split([g.numel() for g in gradients]), strict=True):
                gradient.copy_(summed.view_as(gradient))
        optimizer, schedule = self.optimizers(), self.lr_schedulers()
        assert isinstance(optimizer, LightningOptimizer), "one optimiser, see configure_optimizers"
        assert isinstance(schedule, LRScheduler) and not isinstance(schedule, ReduceLROnPlateau), "see build_schedule"
        scaler = scaler_of(self.trainer.precision_plugin)
        scale = self._loss_scale.value(scaler, self.device)
        norm = torch.nn.utils.get_total_norm(gradients) / scale
        finite = bool(norm.isfinite())
        rate = optimizer.optimizer.param_groups[0]["lr"]
        if finite:
            torch.nn.utils.clip_grads_with_norm_(parameters, self.max_grad_norm, norm)
            optimizer.step()
            check_weights(parameters, self.global_step, rate)
            schedule.step()
            self._loss_scale.skipped_in_a_row = 0
        elif scaler is None:
            raise divergence_error("the gradient norm", norm, self.global_step + 1, rate)
        else:
            self._loss_scale.skip(scaler, optimizer.optimizer, self.global_step + 1, norm)
        optimizer.optimizer.zero_grad()
        if scaler is not None:
            self.log_dict({"train/loss_scale": scale, "train/step_skipped": float(not finite)}, batch_size=1)
        return norm

    def sum_over_ranks(self, value: float) -> float:
        """Sum of a number over all ranks, for example the number of tokens in a step.

        Args:
            value: Number of this rank.
        """
        return float(self.sum_tensor_over_ranks(torch.tensor(float(value))))  # float32

    def sum_tensor_over_ranks(self, values: Tensor) -> Tensor:
        """Sum of a tensor over all ranks, elementwise.

        Args:
            values: Tensor of this rank, of the same shape on all ranks; the sum may replace its values.
        """
        if self.trainer.world_size == 1:
            return values
        return self.trainer.strategy.reduce(values.to(self.device), reduce_op="sum")

    def mean_over_ranks(self, values: Mapping[str, SumAndCount]) -> dict[str, Tensor]:
        """Means over the values of all ranks, float32 scalars by name; NaN where no rank has a value.

        Args:
            values: Sum and number of this rank's values, by name; every rank must give the same names.
        """
        flat = [torch.as_tensor(number).float() for pair in values.values() for number in pair]
        on_host = [place for place, number in enumerate(flat) if number.is_cpu]
        if on_host:  # moved together: each move may wait for the device
            moved = torch.stack([flat[place] for place in on_host]).to(self.device)
            for place, number in zip(on_host, moved, strict=True):
                flat[place] = number
        sums, counts = self.sum_tensor_over_ranks(torch.stack(flat).view(-1, 2)).unbind(1)
        return dict(zip(values, sums / counts, strict=True))

    def log_train(self, values: Mapping[str, float | Tensor], rows: int) -> None:
        """Log values of one step under ``train/``, averaged over ranks.

        Args:
            values: Scalars by name; every rank must give the same names.
            rows: Number of rows that the values are means over.
        """
        for name, value in values.items():
            on_bar = name in ("loss", "reward", "kl")
            self.log(f"train/{name}", value, prog_bar=on_bar, batch_size=rows, sync_dist=True, on_step=True)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Record the stage, its settings, and whether the optimiser is between two batches.

        Raises:
            ValueError: If the weights are not finite, so that this checkpoint does not replace an earlier, usable one.
        """
        check_to_write(checkpoint["state_dict"], "the checkpoint")
        steps = self.trainer.fit_loop.epoch_loop.manual_optimization.optim_step_progress.total
        within = steps.ready != steps.completed  # interrupted inside the optimiser
        checkpoint["semalign"] = {
            "stage": self.stage,
            "settings": dict(self.settings),
            "built": dict(self._built),
            "steps_in_batch": self.global_step - self._steps_at_batch_end + within,
        }

    def on_load_checkpoint(self, checkpoint: Checkpoint) -> None:
        """Refuse a checkpoint of another stage, of other settings, written within a batch, or with NaN weights.

        Raises:
            ValueError: Names the difference and the remedy.
        """
        check_stage(checkpoint, str(self.trainer.ckpt_path or "the checkpoint"), self.stage, self.resume_hint)
        if self.trainer.state.fn != TrainerFn.FITTING:
            return
        self._built_before = compare_with_run(checkpoint, self.settings, self.resume_hint)
        self._place = resume_place(checkpoint)
        data = data_module_of(self.trainer)
        if isinstance(data, BatchedData):
            set_rows(checkpoint.get(type(data).__qualname__, {}), self._place, data.batch_size)

    @staticmethod
    def _cuda_devices(device: torch.device) -> list[torch.device]:
        return [device] if device.type == "cuda" else []
