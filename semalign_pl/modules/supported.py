"""Options of Lightning that have no effect, or an unexpected one, on manual optimisation and adapter checkpoints."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.plugins.precision import MixedPrecision, Precision

from semalign_pl.run.trainer import callbacks_of

PRECISIONS = (None, 16, 32, "16", "32", "bf16", "16-mixed", "bf16-mixed", "32-true")
"""Values of ``trainer.precision`` that keep trained weights in float32."""

_MANUAL = "a batch is one optimiser step here, and only the adapter or the encoder is trained and saved"
REFUSED: dict[str, tuple[str, str]] = {
    "StochasticWeightAveraging": (
        "would average nothing and yet change the learning rate, since its hooks belong to automatic optimisation",
        "leave it out; a schedule that falls to 0 (Cosine, the default) does what the average is for",
    ),
    "WeightAveraging": (  # EMAWeightAveraging too: a subclass
        "copies the whole base and leaves the average out of checkpoints, so that none could be resumed",
        "leave it out; a schedule that falls to 0 (Cosine, the default) does what the average is for",
    ),
    "GradientAccumulationScheduler": (
        f"has nothing to accumulate: {_MANUAL}",
        "set data.init_args.batch_size for the step and model.init_args.micro_batch_tokens for memory",
    ),
    "LearningRateFinder": (
        "needs Lightning's own optimiser steps, and would leave the schedule at the wrong length",
        "give model.init_args.optimizer.init_args.lr yourself",
    ),
    "BatchSizeFinder": (
        "would change the batch, which is the optimiser step, to fill the memory",
        "set data.init_args.batch_size, and let `semalign plan` find model.init_args.micro_batch_tokens",
    ),
    "BaseFinetuning": (  # BackboneFinetuning too: a subclass
        f"freezes and thaws weights that are not saved: {_MANUAL}",
        "choose what is trained by model.init_args.lora",
    ),
    "ModelPruning": (
        f"renames the weights that it prunes, so that no adapter could be saved: {_MANUAL}",
        "leave it out, and prune the merged model afterwards",
    ),
    "SpikeDetection": (
        "expects the loss as the step's output and ends the run at a spike",
        "leave it out; a loss that is not finite stops every run, and one far above its start is warned of",
    ),
}
"""Reason and remedy of each Lightning callback that is refused, by class name."""


def check_precision(value: object) -> None:
    """Refuse a ``trainer.precision`` that would cast the trained weights, before a trainer is built.

    Args:
        value: Value of the option; ``None`` for Lightning's default.

    Raises:
        ValueError: Names the value and the remedy.
    """
    if value not in PRECISIONS:
        raise ValueError(_precision_message(f"trainer.precision: {value}"))


def check_trainer(trainer: Trainer) -> None:
    """Refuse precision plugins and callbacks that no stage supports, before the model is loaded.

    Args:
        trainer: Trainer of the stage.

    Raises:
        ValueError: Names the class, its effect, and the remedy.
    """
    plugin = trainer.precision_plugin
    if type(plugin) is not Precision and not isinstance(plugin, MixedPrecision):
        raise ValueError(_precision_message(f"trainer.precision: {type(plugin).__name__}"))
    for callback in callbacks_of(trainer):
        if (reason := refusal(callback)) is not None:
            raise ValueError(f"trainer.callbacks: {type(callback).__name__} {reason}")


def refusal(callback: Callback) -> str | None:
    """Reason and remedy if a callback is refused; ``None`` for any other.

    Args:
        callback: Callback of the trainer.
    """
    for name, (reason, remedy) in REFUSED.items():
        if isinstance(callback, getattr(lightning_callbacks, name)):
            return f"{reason}; {remedy}"
    return None


def _precision_message(what: str) -> str:
    return (
        f"{what} would cast the trained weights, which are float32, and small updates would be lost; use bf16-mixed "
        "or 32-true, and model.init_args.weights for how the base is held"
    )
