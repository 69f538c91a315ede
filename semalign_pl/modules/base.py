"""What SFT and GRPO share: the policy, its optimiser, checkpoints, generation, and randomness by step."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from torch import Tensor

from semalign_pl.modules.schedule import Cosine, ScheduleCallable
from semalign_pl.policy.adapter import adapter_state, fingerprint, load_adapter_state
from semalign_pl.policy.batching import Rows, micro_batches
from semalign_pl.policy.load import LoraSettings, Weights, load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.sample import sample
from semalign_pl.policy.score import Scored, Scorer
from semalign_pl.types import Example


class AlignModule(LightningModule):
    """A policy under training; subclasses give ``training_step``.

    Optimisation is manual: a batch is one optimiser step, split into micro-batches whose losses are *sums* divided
    once by the denominator of the whole step over all ranks, and gradients are summed over ranks once a step. So
    neither the micro-batch size nor the number of GPUs changes the gradient (dropout, drawn a micro-batch, apart).

    Args:
        base: Causal LM: hub id or folder.
        weights: How the frozen base is held: nf4 (4-bit, double quantisation), bf16 or fp32.
        adapter: PEFT folder to start from and go on training; this policy is then GRPO's reference.
        lora: Settings of a fresh adapter; leave out to take the method's, or those of `adapter`.
        optimizer: Optimiser of the adapter weights (float32).
        lr_scheduler: Schedule; told the run's number of optimiser steps.
        max_grad_norm: Gradients are clipped to this norm.
        micro_batch_tokens: Tokens in one forward and backward, those of prompts and completions together; lower it to
            save memory, results stay the same.
        recompute: Compute each layer's activations again in backward: one more forward, a fraction of the memory.
        max_prompt_tokens: Longer prompts are cut at the end of the message, and counted.
        max_new_tokens: Longest completion, in training and generation.
        seed: Source of adapter initialisation, dropout and sampling; linked to seed_everything by the CLI.
    """

    stage: ClassVar[str] = ""

    def __init__(
        self,
        base: str,
        weights: Weights = "nf4",
        adapter: str | None = None,
        lora: LoraSettings | None = None,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: ScheduleCallable = Cosine,
        max_grad_norm: float = 1.0,
        micro_batch_tokens: int = 4096,
        recompute: bool = False,
        max_prompt_tokens: int = 1024,
        max_new_tokens: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        for name in ("micro_batch_tokens", "max_prompt_tokens", "max_new_tokens"):
            if locals()[name] < 1:
                raise ValueError(f"model.init_args.{name}: {locals()[name]} is not a positive whole number")
        self.automatic_optimization = False
        self.base, self.adapter, self.lora = base, adapter, lora
        self.weights: Weights = weights
        self.optimizer, self.lr_scheduler = optimizer, lr_scheduler
        self.max_grad_norm, self.micro_batch_tokens, self.recompute = max_grad_norm, micro_batch_tokens, recompute
        self.max_prompt_tokens, self.max_new_tokens = max_prompt_tokens, max_new_tokens
        self.seed = seed
        self._policy: Policy | None = None

    @property
    def policy(self) -> Policy:
        """The policy; there from ``configure_model`` on."""
        assert self._policy is not None, "the policy is loaded by configure_model, which a Trainer calls"
        return self._policy

    # -- set-up ------------------------------------------------------------------------------------------------

    def configure_model(self) -> None:
        """Load the policy, once, onto the strategy's device."""
        if self._policy is not None:
            return
        strategy = self.trainer.strategy
        if not isinstance(strategy, SingleDeviceStrategy | DDPStrategy):
            raise ValueError(
                f"trainer.strategy: {type(strategy).__name__} shards the model, and grouped generation is not built "
                "for that; use `ddp`, which keeps one (quantised) replica a GPU"
            )
        with torch.random.fork_rng(devices=self._cuda_devices(strategy.root_device)):
            torch.manual_seed(self.seed)
            self._policy = load_policy(self.base, self.weights, self.lora, self.adapter, strategy.root_device)
        self._reference = fingerprint(adapter_state(self.policy, "reference")) if self.adapter else "base"

    def configure_optimizers(self) -> Any:
        """The optimiser over adapter weights only, and its schedule sized by the run's own count of steps."""
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

    def scored(self, rows: Rows) -> Iterator[Scored]:
        """The step's rows scored with gradients, part by part; give a loss of each to ``accumulate`` before the next.

        Args:
            rows: The step's rows.

        Yields:
            Rows that fit ``micro_batch_tokens``.
        """
        for batch in micro_batches(rows, self.micro_batch_tokens):
            scorer = Scorer(self.policy, rows, batch, self.recompute)
            for part in batch.parts:
                yield scorer(part)
            with self._unsynced():
                scorer.backward()

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

    # -- generation --------------------------------------------------------------------------------------------

    def encode(self, batch: list[Example]) -> list[list[int]]:
        """Prompts of a batch as token ids.

        Args:
            batch: Examples.
        """
        return [self.policy.encode_prompt(example.prompt, self.max_prompt_tokens) for example in batch]

    def _complete(self, batch: list[Example]) -> dict[str, Any]:
        predictions = sample(self.policy, self.encode(batch), max_new_tokens=self.max_new_tokens).texts
        return {"examples": batch, "predictions": predictions}

    def validation_step(self, batch: list[Example], batch_idx: int) -> dict[str, Any]:
        """Greedy completions, for the callbacks that score them."""
        return self._complete(batch)

    def test_step(self, batch: list[Example], batch_idx: int) -> dict[str, Any]:
        """Greedy completions, for the callbacks that score them."""
        return self._complete(batch)

    def on_predict_start(self) -> None:
        """Hand completions to the callbacks alone: Lightning cannot collect frozen examples, nor need it hold them."""
        self.trainer.predict_loop.return_predictions = False

    def predict_step(self, batch: list[Example], batch_idx: int) -> dict[str, Any]:
        """Greedy completions, for the callbacks that write them."""
        return self._complete(batch)

    # -- checkpoints -------------------------------------------------------------------------------------------

    def state_dict(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The adapter's weights and nothing of the base."""
        return {} if self._policy is None else adapter_state(self._policy)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """Put a checkpoint's adapter weights in place; keys must match exactly.

        Raises:
            ValueError: If the checkpoint belongs to another model or other LoRA settings.
        """
        load_adapter_state(self.policy, state_dict)
        return torch.nn.modules.module._IncompatibleKeys([], [])

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Record which stage this is and what its reference was."""
        checkpoint["semalign"] = {"stage": self.stage, "reference": self._reference}

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another stage, or of a run that began from another adapter.

        Raises:
            ValueError: With the remedy.
        """
        saved = checkpoint.get("semalign", {"stage": "unknown", "reference": ""})
        if saved["stage"] != self.stage:
            raise ValueError(
                f"--ckpt_path: this is a checkpoint of stage {saved['stage']!r}, and the run is stage {self.stage!r}; "
                "--ckpt_path resumes the same stage. To start from another stage's result, give its adapter folder: "
                "--model.init_args.adapter RUN/adapter"
            )
        if saved["reference"] != self._reference:
            raise ValueError(
                f"--ckpt_path: the run began from another policy than model.init_args.adapter ({self.adapter}) is now, "
                "so its reference is gone; give the adapter folder that it began with"
            )

    @staticmethod
    def _cuda_devices(device: torch.device) -> list[torch.device]:
        return [device] if device.type == "cuda" else []
