"""``semalign export``: publish a run, or write a checkpoint's weights or a scaled adapter as a plain folder."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import UsageError, one_line
from semalign_pl.messages.quiet import quieten
from semalign_pl.start.check import refuse_mistakes

DTYPES = ("bf16", "fp16", "fp32")
GGUF_TYPES = ("q8_0", "f16", "bf16", "f32")
"""Types of weights that llama.cpp's converter itself writes; smaller ones are made by its tool ``llama-quantize``."""


def _parser() -> CommandParser:
    parser = CommandParser(
        prog="semalign export",
        usage="semalign export RUN [--merge] [--dtype bf16] [--gguf q8_0] [--push you/name] [--out FOLDER]\n"
        "       semalign export --config RUN/fit.yaml --ckpt_path FILE.ckpt [--out FOLDER]\n"
        "       semalign export --config RUN/fit.yaml --model.init_args.adapter RUN/adapter \\\n"
        "         --model.init_args.adapter_scale 0.5 --out FOLDER\n"
        "       semalign export --config RUN/fit.yaml --model.init_args.adapter RUN/adapter --whole --out FOLDER",
        description="Write the result of a run to be used without this package: its adapter, or base and adapter as "
        "one model, each with a model card. The forms with --config write a checkpoint, or a scaled adapter, of any "
        "recipe, whose keys can be given as flags.",
        epilog="RUN, the folder of a finished run, comes first. --push takes the token from the environment (HF_TOKEN) "
        "and makes a private repository.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "--merge",
        action="store_true",
        help="write base and adapter as one model, FOLDER/model, which transformers, vLLM and Ollama load",
    )
    parser.add_argument("--dtype", choices=DTYPES, help="precision of the merged model (default: that of the base)")
    parser.add_argument(
        "--gguf",
        choices=GGUF_TYPES,
        help="also write the merged model for llama.cpp and Ollama, to FOLDER/gguf; pip install 'semalign-pl[gguf]'",
    )
    parser.add_argument("--push", metavar="you/name", help="upload the result to the Hugging Face hub")
    parser.add_argument(
        "--ckpt_path",
        type=Path,
        help="checkpoint of the training, RUN/checkpoints/….ckpt; without it, model.init_args.adapter is exported as "
        "scaled by adapter_scale",
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="folder that gets adapter, encoder, model or gguf (default: RUN/export; FILE without .ckpt)",
    )
    parser.add_argument(
        "--whole",
        action="store_true",
        help="with --config: write FOLDER/model as --merge does, in the precision of model.init_args.weights",
    )
    return parser


def run(args: Sequence[str]) -> int:
    """Run ``export``.

    Args:
        args: Command and flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = _parser()
    with one_line(args) as status:
        given = list(args[1:])
        # RUN comes first: after an unknown key, its value could be taken for the run.
        run_folder = given.pop(0) if given and not given[0].startswith("-") else None
        options, recipe = parser.parse_known_args(given)
        if run_folder is None:
            _export_recipe(options, recipe)
        else:
            _export_run(run_folder, options, recipe)
    return status.code


def _export_run(folder: str, options: argparse.Namespace, others: Sequence[str]) -> None:
    """Export the folder of a run."""
    if others or options.ckpt_path or options.whole:
        wrong = others[0] if others else "--ckpt_path" if options.ckpt_path else "--whole"
        raise UsageError(f"{wrong}: not for the folder of a run; give RUN, or --config RUN/fit.yaml and this flag")
    if not options.merge and (options.dtype or options.gguf):
        raise UsageError(f"--{'gguf' if options.gguf else 'dtype'}: is of the merged model; add --merge")
    from semalign_pl.run.finished import FinishedRun

    run = FinishedRun.of(folder)
    if run.adapter is None:
        raise ValueError(f"{run.path}: it trained an encoder, which is ready to use as it is: {run.path}/encoder")
    quieten()
    from semalign_pl.export.finished_run import export_run

    export_run(run, options.out or run.path / "export", options.merge, options.dtype, options.gguf, options.push)


def _export_recipe(options: argparse.Namespace, recipe: Sequence[str]) -> None:
    """Export a checkpoint or the scaled adapter of a recipe."""
    given = [name for name in ("merge", "dtype", "gguf", "push") if getattr(options, name)]
    if given:
        raise UsageError(f"--{given[0]}: needs the folder of a run; semalign export RUN --{given[0]} …")
    if not recipe:
        raise UsageError("RUN: missing; give the folder of a run first; see semalign export --help")
    refuse_mistakes("fit", recipe)
    checkpoint = options.ckpt_path
    if checkpoint is not None and not checkpoint.is_file():
        raise ValueError(f"--ckpt_path: {checkpoint} is no file; give a checkpoint, RUN/checkpoints/….ckpt")
    from semalign_pl.export.checkpoint import export, export_scaled

    if checkpoint is None:
        folder = export_scaled(recipe, options.out, options.whole)
    else:
        folder = export(recipe, checkpoint, options.out, options.whole)
    print(f"written: {folder}")
