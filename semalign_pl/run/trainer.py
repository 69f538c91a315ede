"""Attributes that Lightning's connectors set on a Trainer, and that its class does not declare."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from lightning.pytorch import LightningDataModule, Trainer
from lightning.pytorch.callbacks import Callback


@runtime_checkable
class _Connected(Protocol):
    """Trainer after its ``__init__``; see ``lightning/pytorch/trainer/connectors``."""

    callbacks: list[Callback]
    datamodule: LightningDataModule | None
    fast_dev_run: bool | int


def _connected(trainer: Trainer) -> _Connected:
    assert isinstance(trainer, _Connected), "every Trainer of lightning 2.6 has callbacks, datamodule and fast_dev_run"
    return trainer


def callbacks_of(trainer: Trainer) -> list[Callback]:
    """Callbacks of a trainer, in the order in which their hooks are called.

    Args:
        trainer: Trainer of the run.
    """
    return _connected(trainer).callbacks


def data_module_of(trainer: Trainer) -> LightningDataModule | None:
    """Data module of a trainer; ``None`` if the run has loaders instead.

    Args:
        trainer: Trainer of the run.
    """
    return _connected(trainer).datamodule


def is_trial(trainer: Trainer) -> bool:
    """Return true under ``trainer.fast_dev_run``, which leaves the run's folder unchanged.

    Args:
        trainer: Trainer of the run.
    """
    return bool(_connected(trainer).fast_dev_run)


def may_write(trainer: Trainer) -> bool:
    """Return true in the one process that writes to the run's folder; in a trial no process does.

    Args:
        trainer: Trainer of the run.
    """
    return trainer.is_global_zero and not is_trial(trainer)
