"""``semalign export``: write a checkpoint's weights, such as those of the best validation, as a plain folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch

from semalign_pl.cli.lightning_cli import SemAlignCLI, make_cli
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.run.results import write_training

# Exporting needs one process and logs nothing, whatever the recipe sets for training.
_ALONE = ("--trainer.devices=1", "--trainer.num_nodes=1", "--trainer.strategy=auto", "--trainer.logger=false")


class CheckpointCLI(SemAlignCLI):
    """CLI that loads a checkpoint's weights into the module of a recipe, without training it."""

    def _run_subcommand(self, subcommand: str) -> None:
        trainer, module = self.trainer, self.model
        trainer.strategy.connect(module)
        trainer.strategy.setup_environment()
        module.trainer = trainer
        module.configure_model()
        path = self._get(self.config, "ckpt_path")
        self.checkpoint = torch.load(path, map_location="cpu", weights_only=True)
        module.on_load_checkpoint(self.checkpoint)
        module.load_state_dict(self.checkpoint["state_dict"])


def run(args: Sequence[str]) -> int:
    """Run ``export``.

    Args:
        args: Command and flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign export",
        usage="semalign export --config RUN/fit.yaml --ckpt_path FILE.ckpt [--out FOLDER]",
        description="Write a checkpoint's adapter (or encoder) as the plain folder that a finished training leaves. "
        "The recipe is the one that was trained; any key of it can be given as a flag.",
        allow_abbrev=False,
    )
    parser.add_argument("--ckpt_path", type=Path, help="checkpoint of the training, RUN/checkpoints/….ckpt")
    parser.add_argument(
        "--out", type=Path, help="folder that gets the folder adapter or encoder (default: FILE without .ckpt)"
    )
    with one_line(args) as status:
        options, recipe = parser.parse_known_args(list(args[1:]))
        if options.ckpt_path is None or not options.ckpt_path.is_file():
            raise ValueError(f"--ckpt_path: {options.ckpt_path} is no file; give a checkpoint, RUN/checkpoints/….ckpt")
        print(f"written: {export(recipe, options.ckpt_path, options.out)}")
    return status.code


def export(recipe: Sequence[str], checkpoint: Path, out: Path | None = None) -> Path:
    """Write a checkpoint's weights as a plain folder, with a ``training.json`` next to them.

    Args:
        recipe: Flags of the training: ``--config FILE`` and keys.
        checkpoint: Checkpoint that the training wrote.
        out: Folder to write the subfolder ``adapter`` or ``encoder`` to; by default the checkpoint's path without its
            suffix.

    Returns:
        Folder written.

    Raises:
        ValueError: If the checkpoint does not belong to the recipe.
    """
    cli = make_cli(CheckpointCLI, ["fit", *recipe, f"--ckpt_path={checkpoint}", *_ALONE])
    folder = cli.model.export(checkpoint.with_suffix("") if out is None else out)
    facts = {"stage": cli.model.stage, "steps": cli.checkpoint["global_step"], "seed": cli.model.seed}
    write_training(folder, **facts, checkpoint=str(checkpoint))
    return folder
