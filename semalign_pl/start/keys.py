"""Keys of the four training commands, and the classes that a recipe can name, all read from source files."""

from __future__ import annotations

from functools import cache

from semalign_pl.start.source_class import Parameter, SourceClass, read_class, shipped_classes

COMMANDS = ("fit", "validate", "test", "predict")
MODULES = ("SFTModule", "GRPOModule", "DistillModule", "EmbedderModule")
OWN_KEYS = {
    "config": "YAML file with any of these keys; of several files, and flags after them, the last one wins.",
    "seed_everything": "Seed of everything random, from 0; module and data module get it too (default: 0).",
    "ckpt_path": "Checkpoint to load, RUN/checkpoints/….ckpt; fit then continues from it.",
    "resume": "Continue from the run's newest checkpoint; start afresh if there is none yet.",
    "verbose": "Flag to print the scores (default: true).",
    "return_predictions": "Not used here: predict writes predictions.jsonl.",
    "weights_only": "Leave it out: checkpoints are always read without running code of theirs.",
    "print_config": "Print all settings as YAML, defaults included, and stop.",
}
_OF_COMMAND = {
    "resume": ("fit",),
    "verbose": ("validate", "test"),
    "return_predictions": ("predict",),
}
USED_MOST = (
    "default_root_dir", "max_steps", "max_epochs", "callbacks", "val_check_interval", "accelerator", "devices",
    "precision", "logger",
)  # fmt: skip
"""Keys of the trainer that most runs set."""
TRAINER_WORDS = {
    "default_root_dir": "Folder of the run: log, checkpoints, results and adapter (default: runs/STAGE).",
    "max_steps": "Number of optimiser steps; -1 for no limit.",
    "max_epochs": "Number of passes over the training rows.",
    "callbacks": "Rewards, probes and other callbacks, each {class_path, init_args}.",
    "val_check_interval": "Number of steps between validations, or share of an epoch.",
    "accelerator": "Kind of device: auto, cpu, gpu.",
    "devices": "Number of devices of this machine, or their numbers.",
    "precision": "Precision of training; 32-true or bf16-mixed. The base's own is model.init_args.weights.",
    "logger": "Loggers, or false for none; by default metrics.csv in the run's folder.",
}
"""What these keys mean here; Lightning's own words are longer, and written for programs."""


def own_keys(command: str) -> dict[str, str]:
    """Keys of a command outside model, data and trainer, with their meaning.

    Args:
        command: One of ``COMMANDS``.
    """
    return {key: text for key, text in OWN_KEYS.items() if command in _OF_COMMAND.get(key, COMMANDS)}


@cache
def trainer_parameters() -> tuple[Parameter, ...]:
    """Arguments of Lightning's Trainer."""
    trainer = read_class("lightning.pytorch.trainer.trainer", "Trainer")
    assert trainer is not None, "lightning is a requirement of this package"
    return trainer.parameters


def all_keys(command: str) -> list[str]:
    """Keys that the parser of a command has, in its order; those within model and data depend on the class.

    Args:
        command: One of ``COMMANDS``.
    """
    own = list(own_keys(command))
    trainer = [f"trainer.{one.name}" for one in trainer_parameters()]
    return [
        "help",
        "config",
        "print_config",
        "subcommand",
        "seed_everything",
        "trainer",
        *trainer,
        "model",
        "data",
        *own,
    ]


@cache
def find_shipped(name: str) -> SourceClass | None:
    """Class of this package by its name in a recipe: the name alone, or the import path.

    Args:
        name: Value of ``class_path``.

    Returns:
        The class; ``None`` if this package has none of this name.
    """
    module, _, bare = name.rpartition(".")
    if not module:
        module = shipped_classes().get(bare, "")
    return read_class(module, bare) if module.startswith("semalign_pl") else None
