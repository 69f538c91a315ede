"""LightningCLI with its four commands: fit, validate, test and predict."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from jsonargparse import (
    ActionConfigFile,  # pyright: ignore[reportPrivateImportUsage]
    Namespace,
)
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI, SaveConfigCallback
from lightning.pytorch.trainer.states import TrainerFn

import semalign_pl.probes
import semalign_pl.rewards  # noqa: F401  (a YAML can name imported classes without their module)
from semalign_pl.callbacks import CorpusReport, Divergence, Export, InterruptionCheckpoint
from semalign_pl.callbacks.checkpoint import with_checkpoint
from semalign_pl.callbacks.checkpoint_files import use_checkpoint_files
from semalign_pl.callbacks.on_screen import with_screen
from semalign_pl.cli.monitors import check_monitors
from semalign_pl.cli.parser import Parser
from semalign_pl.cli.preflight import check_output, check_slurm_checkpoint
from semalign_pl.data import CorpusDataModule
from semalign_pl.files.atomic import write_text
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.missing_packages import explain_missing
from semalign_pl.messages.quiet import quieten, quieten_loading
from semalign_pl.modules import StageModule
from semalign_pl.modules.settings import run_settings
from semalign_pl.modules.supported import check_precision, check_trainer
from semalign_pl.run.begin import begin
from semalign_pl.run.checkpoint import local_checkpoint
from semalign_pl.run.folder import RunFolder
from semalign_pl.run.loggers import close, log_recipe, with_run_logger
from semalign_pl.run.rotation import rotate
from semalign_pl.run.trainer import may_write


@contextmanager
def raise_class_error() -> Iterator[None]:
    """Raise the error of a class alone, which jsonargparse wraps in the errors of its further attempts.

    Raises:
        ValueError: If a class refuses its arguments or needs a package that is not installed.
    """
    try:
        yield
    except ValueError as error:
        if missing := explain_missing(str(error)):
            raise ValueError(missing) from error
        reasons = re.findall(r"^ *- (?!Does not validate)(.*(?:\n {6}\w.*)?)", str(error), re.M)
        if not str(error).lstrip().startswith("Does not validate") or not reasons:
            raise
        raise ValueError(reasons[0]) from error


class SaveConfig(SaveConfigCallback):
    """Callback that saves the parsed config as ``RUN/<command>.yaml``. On purpose, a later run there overwrites it.

    Args:
        parser: Parser of the command.
        config: Parsed config.
    """

    def __init__(self, parser: LightningArgumentParser, config: Namespace) -> None:
        super().__init__(parser, config, save_to_log_dir=False)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Leave the checkpoint out of ``fit.yaml``."""
        self._folder = Path(trainer.default_root_dir)  # whatever logger the run has
        if stage == "fit":  # fit.yaml is a recipe for later runs, which do not start from this checkpoint
            self.config = self.config.clone()
            self.config.ckpt_path = None
        super().setup(trainer, pl_module, stage)

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Save the config in the run's folder and give it to the loggers, unless this process must not write."""
        if not may_write(trainer):
            return
        text = self.parser.dump(self.config, skip_unset=False, skip_validation=True)  # validated when it was parsed
        write_text(self._folder / f"{TrainerFn(stage).value}.yaml", text)
        log_recipe(trainer.loggers, self.config.as_dict())


class SemAlignCLI(LightningCLI):
    """LightningCLI with a module and a data module of the user's choice, one seed, and one folder per run.

    Args:
        classes: Positional arguments of LightningCLI.
        args: Arguments as on the command line; ``None`` for the arguments of this process.
        options: Keyword arguments of LightningCLI.
    """

    def __init__(self, *classes: Any, args: ArgsType = None, **options: Any) -> None:
        given = sys.argv[1:] if args is None else args
        first = given[:1] if isinstance(given, list) else []
        self._command = next((name for name in LightningCLI.subcommands() if first == [name]), None)
        super().__init__(*classes, args=args, **options)

    def subcommands(self) -> dict[str, set[str]]:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Command that the arguments name, or all commands: a parser takes time to build and slows every look-up."""
        known = LightningCLI.subcommands()
        return known if self._command is None else {self._command: known[self._command]}

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make a parser with one-line errors."""
        parser = Parser(**kwargs)
        parser.add_argument("-c", "--config", action=ActionConfigFile, help="YAML file with any of the keys below.")
        return parser

    def setup_parser(
        self, add_subcommands: bool, main_kwargs: dict[str, object], subparser_kwargs: dict[str, object]
    ) -> None:
        """Add ``--resume`` to ``fit``."""
        super().setup_parser(add_subcommands, main_kwargs, subparser_kwargs)
        if add_subcommands and "fit" in self.subcommands():
            meaning = "Continue from the run's newest checkpoint; start afresh if there is none yet."
            self._parser("fit").add_argument("--resume", action="store_true", help=meaning)

    def _add_instantiators(self) -> None:
        """Prepare hyperparameters to save only for classes of a user, which may call ``save_hyperparameters``.

        Those of this package do not, and Lightning would check and dump the whole config for them.
        """
        named = [str(self._get(self.config, key).class_path) for key in ("model", "data")]
        if not all(name.startswith("semalign_pl.") for name in named):
            super()._add_instantiators()

    def instantiate_classes(self) -> None:
        """Instantiate the classes.

        Raises:
            ValueError: If a class refuses its arguments or needs a package that is not installed.
        """
        with raise_class_error():
            super().instantiate_classes()

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Give module and data module the seed of ``seed_everything``."""
        parser.link_arguments("seed_everything", "model.init_args.seed", compute_fn=int)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=int)

    def before_instantiate_classes(self) -> None:
        """Refuse Lightning's options that this package replaces by its own, and check the checkpoint's file.

        Raises:
            ValueError: With the option to set instead.
        """
        checkpoint = self._get(self.config, "ckpt_path")
        command = self.config.get(str(self.subcommand), self.config)
        self._resume = bool(command.pop("resume", False))  # must not be in fit.yaml, which other commands read too
        if self._resume and checkpoint is not None:
            raise ValueError(f"--resume: finds the checkpoint itself; leave out --ckpt_path {checkpoint}, or --resume")
        if checkpoint not in (None, "best", "last"):
            self.config[str(self.subcommand)].ckpt_path = local_checkpoint(checkpoint)
        if self._get(self.config, "weights_only") is False:
            raise ValueError(
                "--weights_only: false would run any code that a checkpoint holds; leave it out, as the checkpoints "
                "of this program hold tensors and plain values only"
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

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        """Make a trainer that logs to the run's folder.

        Raises:
            ValueError: If Lightning refuses the trainer's arguments, or this package does not support them.
        """
        given = self._get(self.config_init, "trainer")
        root = given.get("default_root_dir") or f"runs/{self.model.stage}"
        kwargs["default_root_dir"] = str(root)
        callbacks = given.get("callbacks") or []
        callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
        kwargs["callbacks"] = with_screen(with_checkpoint(callbacks, given, Path(root)), given)
        kwargs["enable_model_summary"] = False  # Lightning's own; the page before training is ours
        if not self._resume:
            check_slurm_checkpoint(Path(root), self._get(self.config_init, "ckpt_path"))
        logger = given.get("logger")
        if self.subcommand == "fit":
            kwargs["logger"] = with_run_logger(logger, Path(root))
        elif logger in (None, True):
            kwargs.setdefault("logger", False)
        check_precision(given.get("precision"))
        quieten_loading()
        try:
            trainer = super().instantiate_trainer(**kwargs)
        except (TypeError, ValueError, ImportError, MisconfigurationException) as error:
            asked = ", ".join(f"{key} {given.get(key)}" for key in ("accelerator", "devices", "strategy"))
            raise ValueError(f"trainer: {error} It was asked for {asked}; change one of them.") from error
        check_trainer(trainer)
        use_checkpoint_files(trainer)
        return trainer

    def _parse_ckpt_path(self) -> None:
        """Ignore the hyperparameters of a checkpoint, which Lightning would merge over the YAML and the flags.

        They name a class (``_class_path``), whose module would be imported. Checkpoints of this package have no
        hyperparameters. `local_checkpoint` checks the file.
        """

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, object]:
        """Let Lightning read only tensors and plain values from any checkpoint that it finds."""
        return {**super()._prepare_subcommand_kwargs(subcommand), "weights_only": True}

    def _run_subcommand(self, subcommand: str) -> None:
        """Run the command from the start that `begin` decides, unless the run is finished already."""
        given = self.config_init[subcommand]
        with begin(self.trainer, subcommand, given.get("ckpt_path"), self._resume) as start:
            given["ckpt_path"] = start.checkpoint  # for this run only: config, which is saved as fit.yaml, has none
            if not start.done:
                try:
                    super()._run_subcommand(subcommand)
                finally:
                    close(self.trainer.loggers)

    def _set_seed(self) -> None:
        self.check_seed()
        super()._set_seed()

    def check_seed(self) -> None:
        """Refuse a seed that is not a whole number from 0 to 2^32 - 1.

        With ``true``, Lightning would use 0, and module and data module would get 1.

        Raises:
            ValueError: With the remedy.
        """
        seed = self._get(self.config, "seed_everything")
        if isinstance(seed, bool) or not 0 <= seed < 2**32:
            raise ValueError(
                f"seed_everything: {str(seed).lower()} is no seed; give a whole number from 0 to {2**32 - 1}, so that "
                "every process and a resumed run have the same"
            )

    def before_validate(self) -> None:
        """Refuse a command without output."""
        check_output("validate", self.trainer, self.model, self.datamodule)

    def before_test(self) -> None:
        """Refuse a command without output."""
        check_output("test", self.trainer, self.model, self.datamodule)

    def before_predict(self) -> None:
        """Refuse a command without output."""
        check_output("predict", self.trainer, self.model, self.datamodule)

    def before_fit(self) -> None:
        """Check the monitored metrics, give the module its settings for the checkpoints, and rotate an earlier run."""
        check_monitors(self.trainer, self.model, self.datamodule)
        self.model.settings = run_settings(self.config[str(self.subcommand)].as_dict())
        folder, checkpoint = RunFolder.of(self.trainer), self._get(self.config_init, "ckpt_path")
        goes_on = checkpoint is not None and folder.owns(Path(checkpoint))  # from a checkpoint of the run in the folder
        if may_write(self.trainer) and not goes_on:
            rotate(folder.path)


CLI = TypeVar("CLI", bound=SemAlignCLI)


def make_cli(kind: type[CLI], args: ArgsType = None, run: bool = True) -> CLI:
    """Parse, instantiate and, if ``run`` is true, run.

    Args:
        kind: Class of the CLI.
        args: Arguments as on the command line; ``None`` for the arguments of this process.
        run: True if the first argument is a command, which is then run.

    Returns:
        The CLI, with ``trainer``, ``model`` and ``datamodule``.
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
            "callbacks": [Divergence(), Export(), InterruptionCheckpoint(), CorpusReport()],
            "num_sanity_val_steps": 0,
            "log_every_n_steps": 1,
        },
        parser_kwargs={"prog": "semalign"},
        args=args,
        run=run,
    )


def main(args: ArgsType = None) -> SemAlignCLI:
    """Parse, instantiate and run one of fit, validate, test, predict.

    Args:
        args: Arguments as on the command line; ``None`` for the arguments of this process.

    Returns:
        The CLI, with ``trainer``, ``model`` and ``datamodule``.
    """
    return make_cli(SemAlignCLI, args)


def run(args: Sequence[str]) -> int:
    """Run a command, and report a user's mistake in one line.

    Args:
        args: Command and flags.

    Returns:
        Exit status: 0, or 2 after a mistake.
    """
    with one_line(args) as status:
        main(list(args))
    return status.code
