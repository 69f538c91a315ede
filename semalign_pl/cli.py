"""The four LightningCLI commands."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ActionConfigFile
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger

import semalign_pl.probes
import semalign_pl.rewards  # noqa: F401  (imported classes can be named in YAML without their module)
from semalign_pl.callbacks import AdapterExport, InterruptionCheckpoint
from semalign_pl.data import CorpusDataModule
from semalign_pl.errors import UsageError, one_line
from semalign_pl.modules import AlignModule


class Parser(LightningArgumentParser):
    """A parser that raises instead of printing a page of usage."""

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise what is wrong as ``UsageError``."""
        raise UsageError(message) from ex


class SaveConfig(SaveConfigCallback):
    """Save the parsed config as ``RUN/<command>.yaml``; running again into a folder overwrites it on purpose."""

    def __init__(self, parser: LightningArgumentParser, config: Any, **_: Any) -> None:
        super().__init__(parser, config, config_filename=f"{config.get('subcommand', 'run')}.yaml", overwrite=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save in the run's folder, which is there by now."""
        super().setup(trainer, pl_module, stage)


class SemAlignCLI(LightningCLI):
    """LightningCLI with a module and a data module of the user's choice, one seed, and one folder a run."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser with one-line errors."""
        parser = Parser(**kwargs)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="YAML file with any of the keys below.")
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed for everything."""
        parser.link_arguments("seed_everything", "model.init_args.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def before_instantiate_classes(self) -> None:
        """Translate what Lightning would refuse into our own options."""
        trainer = self._get(self.config, "trainer")
        if trainer.accumulate_grad_batches != 1:
            raise ValueError(
                f"trainer.accumulate_grad_batches: {trainer.accumulate_grad_batches}; a batch is one optimiser step here. "
                "Set data.init_args.batch_size for the step and model.init_args.micro_batch_size for memory"
            )
        if trainer.gradient_clip_val is not None:
            raise ValueError(
                f"trainer.gradient_clip_val: {trainer.gradient_clip_val}; set model.init_args.max_grad_norm instead"
            )

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """A trainer that logs into the run's folder."""
        given = self._get(self.config_init, "trainer")
        root = given.get("default_root_dir") or f"runs/{self.model.stage}"
        kwargs["default_root_dir"] = str(root)
        if given.get("logger") in (None, True):
            training = self.subcommand == "fit"
            kwargs["logger"] = CSVLogger(root, name="", version="", flush_logs_every_n_steps=10) if training else False
        return super().instantiate_trainer(**kwargs)

    def before_fit(self) -> None:
        """Keep an earlier run's metrics: CSVLogger would delete them."""
        metrics = Path(self.trainer.default_root_dir) / "metrics.csv"
        if self.trainer.is_global_zero and metrics.exists():
            earlier = len(list(metrics.parent.glob("metrics.*.csv")))
            metrics.rename(metrics.with_name(f"metrics.{earlier}.csv"))


def main(args: ArgsType = None) -> SemAlignCLI:
    """Parse, instantiate and run one of fit, validate, test, predict.

    Args:
        args: As on the command line; the process's own when ``None``.

    Returns:
        The CLI, with ``trainer``, ``model`` and ``datamodule``.
    """
    return SemAlignCLI(
        AlignModule,
        CorpusDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=SaveConfig,
        seed_everything_default=0,
        trainer_defaults={
            "callbacks": [AdapterExport(), InterruptionCheckpoint()],
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        },
        parser_kwargs={"prog": "semalign"},
        args=args,
    )


def run(args: Sequence[str]) -> int:
    """Run a command and answer a user's mistake with one line.

    Args:
        args: Command and flags.

    Returns:
        Exit status: 0, or 2 after a mistake.
    """
    # LightningCLI warns when it is handed what stands on the command line anyway.
    with one_line() as status:
        main(None if list(args) == sys.argv[1:] else list(args))
    return status.code
