"""A finished run: the recipe, weights and scores that its folder holds."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from semalign_pl.files.documents import read_json, read_yaml

RECIPE, ADAPTER, ENCODER, RESULTS = "fit.yaml", "adapter", "encoder", "results.json"
"""Names in a run's folder: the whole recipe, the two kinds of weights that training ends with, and a test's scores."""
WHOLE = ("--model.init_args.adapter_scale", "1.0", "--model.init_args.scale_from", "base")
"""Flags to test an adapter itself, or the base model, with a recipe whose training starts from a scaled adapter."""
STARTS = ("corda", "osf")
"""Variants of LoRA that are the start of a new adapter, which is saved as plain LoRA of twice its rank."""
OWN_RANKS = ("--model.init_args.lora", "null")
"""Flags to test an adapter with a recipe of one of ``STARTS``."""


@dataclass(frozen=True)
class FinishedRun:
    """Content of the folder of a finished run.

    Attributes:
        path: Folder of the run, the ``trainer.default_root_dir`` of its training.
        recipe: Settings of the training, defaults included: the values of ``fit.yaml``.
        adapter: Folder of the trained adapter; ``None`` for a run that trained an encoder.
        base: Hub id or folder of the model that was trained on.
        results: Content of ``results.json``; ``None`` if the run was not tested, or the file is of another test than
            that of the trained weights themselves.
    """

    path: Path
    recipe: dict[str, Any]
    adapter: Path | None
    base: str
    results: dict[str, Any] | None

    @classmethod
    def of(cls, path: str | Path) -> FinishedRun:
        """Read the folder of a finished run; no weights are read.

        Args:
            path: Folder of the run.

        Raises:
            ValueError: If it is not the folder of a finished run, or one of its files cannot be read; with the remedy.
        """
        path = Path(path)
        if not path.is_dir():
            found = f"{path} is a file" if path.exists() else f"there is no folder {path}"
            raise ValueError(f"{found}; give the folder of a run, the trainer.default_root_dir of its semalign fit")
        file = path / RECIPE
        if not file.is_file():
            around = [
                path.absolute().parent / RECIPE,
                *sorted(path.glob(f"*/{RECIPE}")),
                *sorted(path.glob(f"*/*/{RECIPE}")),
            ]
            suggestions = [str(recipe.parent) for recipe in around if recipe.is_file()]
            hint = f"give the folder of a run{f', such as {suggestions[0]}' if suggestions else ''}"
            raise ValueError(f"{path} is not the folder of a run: it has no {RECIPE}; {hint}")
        recipe = read_yaml(file)
        base = _find_base(recipe)
        if base is None:
            raise ValueError(f"{file}: model.init_args names no base, so this is no recipe; give the folder of a run")
        adapter = path / ADAPTER if (path / ADAPTER).is_dir() else None
        if adapter is None and not (path / ENCODER).is_dir():
            raise ValueError(
                f"{path} holds an unfinished run: it has no {ADAPTER}; finish it: semalign fit --config {file} --resume"
            )
        results = read_object(path / RESULTS, f"test the run again: {shlex.join(command_of_test(path, recipe))}")
        if results is not None:
            remedy = f"train again, or delete {RESULTS} to do without scores"
            training = read_object((adapter or path / ENCODER) / "training.json", remedy)
            results = results if is_test_of(results, training or {}) else None
        return cls(path, recipe, adapter, locate_path(base, path, recipe), results)

    def locate(self, name: str) -> str:
        """Find a file or folder that the recipe names by a relative path.

        A recipe's paths start at the working folder of the training. They are looked up there, as far as the run's own
        path shows where that is, and else in today's working folder.

        Args:
            name: Path of the recipe, or hub id.

        Returns:
            Path that exists; ``name`` itself if neither folder has it, as for a hub id.
        """
        return locate_path(name, self.path, self.recipe)


def _find_base(recipe: object) -> str | None:
    """Model that a recipe trains; ``None`` if it names none."""
    model = recipe.get("model") if isinstance(recipe, dict) else None
    settings = model.get("init_args") if isinstance(model, dict) else None
    base = settings.get("base") if isinstance(settings, dict) else None
    return base if isinstance(base, str) else None


def _find_root(path: Path, recipe: Mapping[str, Any]) -> Path | None:
    """Working folder of a training, from which its relative paths start; ``None`` if the run was moved."""
    trainer = recipe.get("trainer")
    root = Path(str(trainer.get("default_root_dir") if isinstance(trainer, dict) else None or ".."))
    here = path.absolute()
    if root.is_absolute() or not root.parts or ".." in root.parts or here.parts[-len(root.parts) :] != root.parts:
        return None
    return here.parents[len(root.parts) - 1]


def locate_path(name: str, run: Path, recipe: Mapping[str, Any]) -> str:
    """Find a file or folder that a recipe names; see `FinishedRun.locate`.

    Args:
        name: Path of the recipe, or hub id.
        run: Folder of the run.
        recipe: Settings of the training.
    """
    root = _find_root(run, recipe)
    if root is None or Path(name).is_absolute() or not (root / name).exists():
        return name
    # Today's working folder may have another file of this name.
    return name if Path(name).exists() and Path(name).samefile(root / name) else str(root / name)


def is_test_of(results: Mapping[str, Any], training: Mapping[str, Any]) -> bool:
    """Return true if results are those of a trained adapter or encoder itself.

    A test writes to the same file whatever it tests: also the base, the adapter that the training started from, the
    trained adapter at another scale, or an earlier training in the folder.

    Args:
        results: Content of ``results.json``.
        training: Content of the ``training.json`` beside the trained weights.
    """
    run = results.get("run")
    trained = run.get("trained") if isinstance(run, dict) else None
    if not isinstance(run, dict) or not isinstance(trained, dict):
        return False
    same = trained.get("finished") == training.get("finished")
    return same and "adapter_scale" not in run and results.get("point", "end") == "end"


def command_of_test(run: Path, recipe: Mapping[str, Any]) -> list[str]:
    """Words of the command that tests the trained adapter or encoder of a run.

    The recipe alone names what the training started from: the base or an adapter, and the scale of that one.

    Args:
        run: Folder of the run.
        recipe: Settings of the training.
    """
    model = recipe.get("model")
    given = model.get("init_args") if isinstance(model, dict) else None
    settings: Mapping[str, Any] = given if isinstance(given, dict) else {}
    scaled = settings.get("adapter_scale", 1) != 1 or settings.get("scale_from", "base") != "base"
    lora = settings.get("lora")
    doubled = isinstance(lora, dict) and lora.get("variant") in STARTS
    words = ["semalign", "test", "--config", str(run / RECIPE)]
    if (run / ENCODER).is_dir():
        return [*words, "--model.init_args.base", str(run / ENCODER)]
    undone = (*(WHOLE if scaled else ()), *(OWN_RANKS if doubled else ()))
    return [*words, "--model.init_args.adapter", str(run / ADAPTER), *undone]


def read_object(file: Path, remedy: str) -> dict[str, Any] | None:
    """Read a JSON object; ``None`` if there is no such file.

    Args:
        file: File to read.
        remedy: End of the message if the file cannot be read: what to do.

    Raises:
        ValueError: If the file cannot be read or is not a JSON object; names file and remedy.
    """
    if not file.is_file():
        return None
    content = read_json(file, remedy)
    if not isinstance(content, dict):
        raise ValueError(f"{file}: {type(content).__name__} is no JSON object; {remedy}")
    return content
