"""Attributes that Lightning's connectors set on a Trainer and its class does not declare, and the steps of a run."""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Protocol, runtime_checkable

from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.trainer.states import RunningStage


@runtime_checkable
class _Connected(Protocol):
    """Trainer after its ``__init__``; see ``lightning/pytorch/trainer/connectors``."""

    callbacks: list[Callback]
    datamodule: LightningDataModule | None
    fast_dev_run: bool | int


@runtime_checkable
class _Updating(Protocol):
    """Module that may make several optimiser steps per batch."""

    def updates_per_batch(self) -> int:
        """Number of optimiser steps per batch."""
        ...


def _check(trainer: Trainer) -> _Connected:
    assert isinstance(trainer, _Connected), "every Trainer of lightning 2.6 has callbacks, datamodule and fast_dev_run"
    return trainer


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Callbacks of a trainer, in the order in which their hooks are called.

    Args:
        trainer: Trainer of the run.
    """
    return _check(trainer).callbacks


def data_module_of(trainer: Trainer) -> LightningDataModule | None:
    """Data module of a trainer; ``None`` if the run has loaders instead.

    Args:
        trainer: Trainer of the run.
    """
    return _check(trainer).datamodule


def is_trial(trainer: Trainer) -> bool:
    """Return true under ``trainer.fast_dev_run``, which leaves the run's folder unchanged.

    Args:
        trainer: Trainer of the run.
    """
    return bool(_check(trainer).fast_dev_run)


def may_write(trainer: Trainer) -> bool:
    """Return true in the one process that writes to the run's folder; in a trial no process does.

    Args:
        trainer: Trainer of the run.
    """
    return trainer.is_global_zero and not is_trial(trainer)


def count_batches(trainer: Trainer, loader: Sized) -> int:
    """Number of batches per epoch of this process, also before the fit.

    Lightning gives the sampler of a process to a user's loader only once the fit has begun; until then the loader has
    the batches of all processes.

    Args:
        trainer: Trainer of the run.
        loader: Training loader of the data module.
    """
    prepared = trainer._data_connector._prepare_dataloader(loader, shuffle=True, mode=RunningStage.TRAINING)
    assert isinstance(prepared, Sized), "Lightning returns the loader, or one of its class with another sampler"
    batches, limit = len(prepared), trainer.limit_train_batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def count_steps(trainer: Trainer, module: LightningModule, batches: float | None = None) -> int | None:
    """Number of optimiser steps of a fit; ``None`` if it is not known, as for a loader without a length.

    Args:
        trainer: Trainer of the run.
        module: Module under training.
        batches: Number of batches per epoch; by default the trainer's, which it knows once the fit has begun.
    """
    per_batch = module.updates_per_batch() if isinstance(module, _Updating) else 1
    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs > 0 else math.inf
    by_steps = trainer.max_steps if trainer.max_steps > 0 else math.inf
    steps = min(by_steps, (trainer.num_training_batches if batches is None else batches) * epochs * per_batch)
    return int(steps) if math.isfinite(steps) else None
