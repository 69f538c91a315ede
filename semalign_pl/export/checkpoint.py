"""A checkpoint's weights, or the scaled adapter of a recipe, as a plain folder or merged into the base."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import torch

from semalign_pl.card.write import write_card
from semalign_pl.cli.lightning_cli import SemAlignCLI, make_cli
from semalign_pl.export.finished_run import base_dtype
from semalign_pl.messages.terminal import visible
from semalign_pl.modules.base import AlignModule
from semalign_pl.policy.adapter import portable_base
from semalign_pl.policy.adapter_folder import read_adapter_folder
from semalign_pl.policy.adapter_start import blend_facts, check_no_result, check_target, read_terms, start_facts
from semalign_pl.policy.merged import export_model
from semalign_pl.protocols import ExportableModule, ScaledModule
from semalign_pl.run.results import write_training
from semalign_pl.types import Json

# Exporting needs one process and logs nothing, whatever the recipe sets for training.
_ALONE = ("--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto", "--trainer.logger=false")


class CheckpointCLI(SemAlignCLI):
    """CLI that loads a module of a recipe, and a checkpoint's weights into it, without training it."""

    whole: ClassVar[bool] = False

    def _run_subcommand(self, subcommand: str) -> None:
        trainer, module = self.trainer, self.model
        path = self._get(self.config, "ckpt_path")
        if path is None and not _names_adapter(module, scaled=not self.whole):
            raise ValueError(
                "--ckpt_path: names no checkpoint, and model.init_args.adapter_scale no scale below 1, so there is "
                "nothing to export; give RUN/checkpoints/….ckpt, or an adapter and its scale"
            )
        trainer.strategy.connect(module)
        trainer.strategy.setup_environment()
        module.trainer = trainer
        module.configure_model()
        if path is not None:
            self.checkpoint = torch.load(path, map_location="cpu", weights_only=True)
            module.on_load_checkpoint(self.checkpoint)
            module.load_state_dict(self.checkpoint["state_dict"])


class MergedCLI(CheckpointCLI):
    """CLI that also loads an adapter that is not scaled, to merge it into its base, which it does not quantise."""

    whole = True

    def before_instantiate_classes(self) -> None:
        """Load the weights of a base that is to be quantised as they are, on the CPU."""
        super().before_instantiate_classes()
        settings = self.config[str(self.subcommand)]
        model = settings.model.init_args
        if model.get("weights") == "nf4":
            model.weights = "bf16" if base_dtype(model.base) == torch.bfloat16 else "fp32"
            settings.trainer.accelerator = "cpu"


def _names_adapter(module: object, scaled: bool) -> bool:
    """Return true if a module has a saved adapter, which must be scaled if ``scaled`` is true."""
    if not isinstance(module, ScaledModule) or module.adapter is None:
        return False
    return not scaled or module.adapter_scale < 1


def export(recipe: Sequence[str], checkpoint: Path, out: Path | None = None, whole: bool = False) -> Path:
    """Write a checkpoint's weights as a plain folder, with a ``training.json`` next to them.

    Args:
        recipe: Flags of the training: ``--config FILE`` and keys.
        checkpoint: Checkpoint that the training wrote.
        out: Folder to write the subfolder ``adapter`` or ``encoder`` to; by default the checkpoint's path without its
            suffix.
        whole: True to write base and adapter as one model, to the subfolder ``model``.

    Returns:
        Folder written.

    Raises:
        ValueError: If the checkpoint does not belong to the recipe.
    """
    kind = MergedCLI if whole else CheckpointCLI
    cli = make_cli(kind, ["fit", *recipe, f"--ckpt_path={checkpoint}", *_ALONE])
    module, out = cli.model, checkpoint.with_suffix("") if out is None else out
    for name in () if whole else ("adapter", "encoder"):
        check_no_result(out / name)
    folder = _write(module, out, whole)
    facts: dict[str, Json] = {"stage": module.stage, "steps": cli.checkpoint["global_step"], "seed": module.seed}
    if isinstance(module, ScaledModule):
        facts |= start_facts(module.adapter, module.adapter_scale, module.scale_from, folder)
    write_training(folder, **facts, checkpoint=str(checkpoint))
    _write_card(module, folder)
    return folder


def export_scaled(recipe: Sequence[str], out: Path | None, whole: bool = False) -> Path:
    """Write the scaled adapter of a recipe as a plain folder, with a ``training.json`` next to it.

    Args:
        recipe: ``--config FILE`` and keys, among them ``model.init_args.adapter`` and ``adapter_scale``.
        out: Folder to write the subfolder ``adapter`` to.
        whole: True to write base and adapter as one model, to the subfolder ``model``; the scale may then be 1.

    Returns:
        Folder written.

    Raises:
        ValueError: If no folder is given, the recipe scales no adapter, or ``out/adapter`` is the adapter itself.
    """
    if out is None:
        raise ValueError("--out: names no folder for a scaled adapter; give one, or --ckpt_path to export a checkpoint")
    module = make_cli(MergedCLI if whole else CheckpointCLI, ["fit", *recipe, *_ALONE]).model
    facts = _blend_facts(module, out / ("model" if whole else "adapter"))
    if module.adapter_scale != 1:  # the recipe may have a scale that was meant for the start of its training
        print(visible(f"adapter_scale {module.adapter_scale:g}, scale_from {module.scale_from}: {module.adapter}"))
    folder = _write(module, out, whole)
    write_training(folder, **facts)
    _write_card(module, folder)
    return folder


def _write_card(module: object, folder: Path) -> None:
    """Write the model card of an adapter or merged model; the scores of the run are not those of these weights."""
    if isinstance(module, AlignModule):
        write_card(folder, "model" if folder.name == "model" else "adapter", None, portable_base(module.base))


def _write(module: ExportableModule, out: Path, whole: bool) -> Path:
    """Write the result of a module, or its base with it; returns the folder."""
    if not whole:
        return module.export(out)
    if not isinstance(module, AlignModule):
        raise ValueError(f"--whole: {type(module).__name__} trains no adapter, so its result is whole; leave it out")
    export_model(module.policy, out / "model")
    return out / "model"


def _blend_facts(module: ScaledModule, folder: Path) -> dict[str, Json]:
    assert module.adapter is not None, "the CLI refuses a module without an adapter"
    terms = read_terms(read_adapter_folder(module.adapter), module.adapter_scale, module.scale_from)
    check_target(folder, [adapter.path for adapter, _ in terms])
    return blend_facts(terms, folder)
