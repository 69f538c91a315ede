"""Test the points of a system in one process: base, data and encoders are loaded once, only adapter weights change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.callbacks import Evaluation
from semalign_pl.cli.lightning_cli import SemAlignCLI, make_cli
from semalign_pl.files.documents import read_json
from semalign_pl.frontier.points import END, POINTS, Point
from semalign_pl.frontier.swap import Swap
from semalign_pl.modules import AlignModule
from semalign_pl.policy.adapter_folder import read_adapter_folder
from semalign_pl.policy.blend import write_blend
from semalign_pl.probes.base import Probe
from semalign_pl.run.trainer import callbacks_of, is_trial

# One process tests all points, and prints one line per point instead of a progress bar.
_ALONE = ("devices=1", "num_nodes=1", "strategy=auto", "enable_progress_bar=false")


class PointCLI(SemAlignCLI):
    """CLI of ``semalign test`` that instantiates nothing and runs nothing by itself."""

    def instantiate_classes(self) -> None:
        """Do nothing; `load` instantiates the classes."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Do nothing."""

    @property
    def settings(self) -> Namespace:
        """Settings of the test, defaults included."""
        return self.config[str(self.subcommand)]

    def aim(self, folder: Path, model: Mapping[str, str | float | None]) -> None:
        """Set the folder and the adapter of the next test, as ``test.yaml`` will record them.

        Args:
            folder: Folder to write to.
            model: Settings of ``model.init_args``.
        """
        self.settings.trainer.default_root_dir = str(folder)
        for key, value in model.items():
            if key in self.settings.model.init_args:
                self.settings.model.init_args[key] = value

    def load(self) -> None:
        """Instantiate module, data module and trainer, and load the policy.

        Raises:
            ValueError: If the recipe has no policy or no Evaluation, or a class refuses its settings.
        """
        super().instantiate_classes()
        if not isinstance(self.model, AlignModule):
            raise _no_policy(type(self.model).__name__)
        if is_trial(self.trainer) or not any(isinstance(one, Evaluation) for one in callbacks_of(self.trainer)):
            raise ValueError(
                "trainer.callbacks: a frontier is read from the results.json of its points, which Evaluation writes "
                "unless trainer.fast_dev_run is set; add {class_path: Evaluation, init_args: {language: bo}}"
            )
        self.trainer.strategy.connect(self.model)
        self.trainer.strategy.setup_environment()
        self.model.trainer = self.trainer
        self.model.configure_model()

    def instantiate_trainer(self, **kwargs: object) -> Trainer:
        """Make a trainer without loggers, in which the scores of all points would replace one another."""
        return super().instantiate_trainer(**{**kwargs, "logger": False})

    def renew_trainer(self) -> None:
        """Make the trainer of the next test, with new callbacks, as in a process of its own.

        Evaluation and the probes of this package are kept, with what they have read and computed of data, base and
        encoders; they begin each test without results of the last one.
        """
        command = str(self.subcommand)
        self._set_seed()
        parser = self._parser(command)
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
        trainer = instantiate(Namespace(trainer=self.settings.trainer))["trainer"]
        earlier = _as_list(self.config_init[command].trainer.callbacks)
        trainer.callbacks = [
            old if _is_kept(old) else new for old, new in zip(earlier, _as_list(trainer.callbacks), strict=True)
        ]
        self.config_init[command].trainer = trainer
        self.trainer = self.instantiate_trainer()


def _as_list(callbacks: Callback | Sequence[Callback] | None) -> list[Callback]:
    return [callbacks] if isinstance(callbacks, Callback) else list(callbacks or [])


def _is_kept(callback: Callback) -> bool:
    return isinstance(callback, Evaluation | Probe) and type(callback).__module__.startswith("semalign_pl.")


def _no_policy(module: str) -> ValueError:
    return ValueError(
        f"model.class_path: {module} has no adapter to test at several points; give the recipe of an SFTModule or "
        "GRPOModule"
    )


class PointTester:
    """Test of many adapters by one recipe, each with the results of a separate ``semalign test``.

    Nothing is loaded before the first test.

    Args:
        recipe: ``--config FILE`` and flags, as for ``semalign test``.
        points: Points to test, at least one. Others may be tested too, if they are made of the same adapters.

    Attributes:
        settings: Parsed settings of the test, defaults included.
        adapters: PEFT folders that the points are made of.

    Raises:
        UsageError: If the flags, or the config that they name, cannot be parsed.
        ValueError: If an adapter cannot be read, or the settings contain an option that this package replaces.
    """

    def __init__(self, recipe: Sequence[str], points: Sequence[Point]) -> None:
        given = ("--model.init_args.adapter=null", *(f"--trainer.{one}" for one in _ALONE))
        self._cli = make_cli(PointCLI, ["test", *recipe, *given])
        self._loaded = False
        self.adapters = sorted({path for point in points for path, _ in point.terms})
        self.settings: dict[str, Any] = self._cli.settings.as_dict()
        if self.settings.get("ckpt_path") is not None:
            raise ValueError("--ckpt_path: a frontier tests adapter folders, not checkpoints; leave it out")
        base = self.settings["model"]["init_args"].get("base")
        if base is None:
            raise _no_policy(self.settings["model"]["class_path"])
        self._swap = Swap(points, base)

    def test(self, point: Point, folder: Path) -> dict[str, Any]:
        """Test one point, and write ``results.json``, ``predictions.jsonl`` and whatever the recipe's callbacks write.

        Args:
            point: Point to test.
            folder: Folder to write to: ``SYSTEM`` or ``SYSTEM/points/NAME``.

        Returns:
            Content of ``results.json``.

        Raises:
            ValueError: If the recipe has no policy or no Evaluation, or an adapter does not fit the base.
        """
        cli = self._cli
        if self._loaded:
            cli.aim(folder, point.settings)
            cli.renew_trainer()
        else:
            self._load(folder)
            cli.aim(folder, point.settings)  # the callback that saves the settings has not done so yet
        module, system = cli.model, folder.absolute()
        system = system.parents[1] if system.parent.name == POINTS else system
        self._swap(module.policy, point.terms)
        for key, value in point.settings.items():  # facts for the callbacks
            setattr(module, key, value)
        module.policy.encoder.truncated_prompts = 0
        for callback in callbacks_of(cli.trainer):
            if isinstance(callback, Evaluation):
                callback.system, callback.point, callback.terms = system.name, point.name, point.facts
        cli.trainer.test(module, datamodule=cli.datamodule, verbose=False, weights_only=True)
        return read_json(folder / "results.json", "delete the folder to test the point again")

    def export(self, point: Point, folder: Path) -> None:
        """Write the adapter of a point as a plain PEFT folder.

        Args:
            point: Point whose terms are not empty.
            folder: Folder to write; created if absent, replaced if present.

        Raises:
            ValueError: If an adapter cannot be scaled exactly.
        """
        if not self._loaded:
            self._load(folder)
        terms = [(read_adapter_folder(path), weight) for path, weight in point.terms]
        write_blend(terms, self._cli.model.policy.model, folder)

    def _load(self, folder: Path) -> None:
        with self._swap.common() as adapter:
            # The ranks are those of the adapters, and a scale of the recipe is that of the training's start.
            self._cli.aim(folder, {**Point(END, ((adapter, 1.0),)).settings, "lora": None})
            self._cli.load()
        self._loaded = True
