"""Read a recipe and flags as a command would, without running the command."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from jsonargparse import Namespace
from lightning.pytorch import Callback, LightningModule

from semalign_pl.cli.lightning_cli import SemAlignCLI, make_cli, raise_class_error
from semalign_pl.data import CorpusDataModule
from semalign_pl.files.atomic import write_text


class ParsedRecipe(SemAlignCLI):
    """Settings of a command, parsed and checked. No class is instantiated, no seed is set, and nothing is run."""

    @property
    def settings(self) -> Namespace:
        """Settings of the command, defaults included."""
        return self.config[str(self.subcommand)]

    def make_data(self) -> CorpusDataModule:
        """Instantiate the data module of the recipe, which reads no file yet."""
        return self._make("data")

    def make_module(self) -> LightningModule:
        """Instantiate the module of the recipe, which loads no weights yet."""
        return self._make("model")

    def make_callbacks(self, kind: type[Callback]) -> list[Callback]:
        """Instantiate the callbacks of one kind; the others may need files that are not there yet.

        Args:
            kind: Base class of the wanted callbacks.
        """
        trainer = self.settings.trainer
        named = [callback for callback in trainer.callbacks or [] if issubclass(_find_class(callback.class_path), kind)]
        return self._make("trainer", Namespace({**vars(trainer), "callbacks": named})).callbacks if named else []

    def save(self, file: Path) -> None:
        """Write the settings as a recipe for any command, defaults included.

        Args:
            file: YAML file to write; replaced if present.
        """
        recipe = Namespace({key: self.settings[key] for key in ("seed_everything", "trainer", "model", "data")})
        text = self._parser(self.subcommand).dump(recipe, skip_unset=False, skip_validation=True)
        write_text(file, text)

    def _make(self, key: str, given: Namespace | None = None) -> Any:
        parser = self._parser(self.subcommand)
        # jsonargparse 4.49 renamed the method, and warns if the old name is used.
        instantiate = getattr(parser, "instantiate", None) or parser.instantiate_classes
        with raise_class_error():
            return instantiate(Namespace({key: self.settings[key] if given is None else given}))[key]

    def instantiate_classes(self) -> None:
        """Do nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        """Do nothing."""

    def _set_seed(self) -> None:
        self.check_seed()


def _find_class(path: str) -> type:
    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)


def parse_recipe(args: Sequence[str], command: str = "fit") -> ParsedRecipe:
    """Parse the flags of a command.

    Args:
        args: ``--config FILE`` and flags, as on the command line of ``command``.
        command: ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        UsageError: If the flags, or the config that they name, cannot be parsed.
        ValueError: If the settings contain an option that this package replaces by its own.
    """
    return make_cli(ParsedRecipe, [command, *args])
