"""The four LightningCLI commands."""

from __future__ import annotations

import pickle
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from jsonargparse import ActionConfigFile, get_loader, set_loader  # pyright: ignore[reportPrivateImportUsage]
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.trainer.states import TrainerFn

import semalign_pl.probes
import semalign_pl.rewards  # noqa: F401  (imported classes can be named in YAML without their module)
from semalign_pl.callbacks import CorpusReport, Export, InterruptionCheckpoint
from semalign_pl.data import CorpusDataModule
from semalign_pl.documents import check_size, check_yaml
from semalign_pl.errors import UsageError, one_line
from semalign_pl.modules import StageModule
from semalign_pl.monitors import check_monitors
from semalign_pl.preflight import check_output, check_slurm_checkpoint
from semalign_pl.quiet import quieten


class Parser(LightningArgumentParser):
    """A parser that raises instead of printing a page of usage."""

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Parse a file, unless it is too large to be a config."""
        check_size(Path(path), f"--config: {path}")
        return super().parse_path(path, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise what is wrong as ``UsageError``."""
        keys = [action.dest for parser in (self, *_subparsers(self)) for action in parser._actions]
        raise UsageError(message, dict.fromkeys(keys)) from ex


_load_yaml = get_loader("yaml")


def _load_checked_yaml(text: str) -> Any:
    """All that jsonargparse parses, files and flags: by its own rules, but within our limits."""
    check_yaml(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return _load_yaml(text)
    except ValueError as error:  # a number of 5,000 digits
        raise yaml.YAMLError(str(error)) from error


set_loader("yaml", _load_checked_yaml, (yaml.YAMLError,))


def _subparsers(parser: LightningArgumentParser) -> list[LightningArgumentParser]:
    choices = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return [sub for named in choices for sub in named.values()]


class SaveConfig(SaveConfigCallback):
    """Save the parsed config as ``RUN/<command>.yaml``; running again into a folder overwrites it on purpose."""

    def __init__(self, parser: LightningArgumentParser, config: Any, **_: Any) -> None:
        super().__init__(parser, config, overwrite=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save in the run's folder, which is known by now."""
        self.config_filename = f"{TrainerFn(stage).value}.yaml"
        super().setup(trainer, pl_module, stage)


class SemAlignCLI(LightningCLI):
    """LightningCLI with a module and a data module of the user's choice, one seed, and one folder a run."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """A parser with one-line errors."""
        parser = Parser(**kwargs)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="YAML file with any of the keys below.")
        return parser

    def instantiate_classes(self) -> None:
        """Unwrap what a class said against its arguments; jsonargparse buries it among what it tried next."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            reasons = re.findall(r"^ *- (?!Does not validate)(.*)", str(error), re.M)
            if not str(error).lstrip().startswith("Does not validate") or not reasons:
                raise
            raise ValueError(reasons[0]) from error

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """One seed for everything."""
        parser.link_arguments("seed_everything", "model.init_args.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def before_instantiate_classes(self) -> None:
        """Translate what Lightning would refuse into our own options."""
        checkpoint = self._get(self.config, "ckpt_path")
        if checkpoint not in (None, "best", "last") and "://" not in checkpoint and not Path(checkpoint).is_file():
            raise ValueError(
                f"--ckpt_path: there is no file {checkpoint}; give a checkpoint that an earlier run of this stage "
                "wrote, RUN/checkpoints/….ckpt, or leave it out to start afresh"
            )
        trainer = self._get(self.config, "trainer")
        if trainer.accumulate_grad_batches != 1:
            raise ValueError(
                f"trainer.accumulate_grad_batches: {trainer.accumulate_grad_batches}; a batch is one optimiser step "
                "here. Set data.init_args.batch_size for the step and model.init_args.micro_batch_tokens for memory"
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
        check_slurm_checkpoint(Path(root), self._get(self.config_init, "ckpt_path"))
        if given.get("logger") in (None, True):
            training = self.subcommand == "fit"
            kwargs["logger"] = CSVLogger(root, name="", version="", flush_logs_every_n_steps=10) if training else False
        try:
            return super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError, MisconfigurationException) as error:
            asked = ", ".join(f"{key} {given.get(key)}" for key in ("accelerator", "devices", "strategy"))
            raise ValueError(f"trainer: {error} It was asked for {asked}; change one of them.") from error

    def _parse_ckpt_path(self) -> None:
        """Lightning opens the checkpoint for its hyperparameters, of which ours has none."""
        try:
            super()._parse_ckpt_path()
        except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
            path = self.config[self.config.subcommand].ckpt_path
            raise UsageError(f"--ckpt_path: {path} is not a checkpoint, or only half of one; give another") from error

    def before_validate(self) -> None:
        """Refuse to compute for nothing."""
        check_output("validate", self.trainer, self.model)

    def before_test(self) -> None:
        """Refuse to compute for nothing."""
        check_output("test", self.trainer, self.model)

    def before_predict(self) -> None:
        """Refuse to compute for nothing."""
        check_output("predict", self.trainer, self.model)

    def before_fit(self) -> None:
        """Refuse to monitor what nothing logs. Keep an earlier run's metrics: CSVLogger would delete them."""
        check_monitors(self.trainer, self.model, self.datamodule)
        metrics = Path(self.trainer.default_root_dir) / "metrics.csv"
        if self.trainer.is_global_zero and metrics.exists():
            earlier = len(list(metrics.parent.glob("metrics.*.csv")))
            metrics.rename(metrics.with_name(f"metrics.{earlier}.csv"))


def make_cli(kind: type[SemAlignCLI], args: ArgsType = None, run: bool = True) -> SemAlignCLI:
    """Parse, instantiate and, if wanted, run.

    Args:
        kind: Of CLI.
        args: As on the command line; the process's own when ``None``.
        run: The first argument is a command, and it is run.
    """
    quieten()
    return kind(
        StageModule,
        CorpusDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        auto_configure_optimizers=False,
        save_config_callback=SaveConfig,
        seed_everything_default=0,
        trainer_defaults={
            "callbacks": [Export(), InterruptionCheckpoint(), CorpusReport()],
            "num_sanity_val_steps": 0,
            "enable_model_summary": False,
            "log_every_n_steps": 1,
        },
        parser_kwargs={"prog": "semalign"},
        args=args,
        run=run,
    )


def main(args: ArgsType = None) -> SemAlignCLI:
    """Parse, instantiate and run one of fit, validate, test, predict.

    Args:
        args: As on the command line; the process's own when ``None``.

    Returns:
        The CLI, with ``trainer``, ``model`` and ``datamodule``.
    """
    return make_cli(SemAlignCLI, args)


def run(args: Sequence[str]) -> int:
    """Run a command and answer a user's mistake with one line.

    Args:
        args: Command and flags.

    Returns:
        Exit status: 0, or 2 after a mistake.
    """
    # LightningCLI warns when it is handed what stands on the command line anyway.
    with one_line(args) as status:
        main(None if list(args) == sys.argv[1:] else list(args))
    return status.code
