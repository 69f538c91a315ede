"""``semalign plan``: a table of the predicted memory, and settings that fit a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.memory_amount import gib, memory_bytes
from semalign_pl.messages.quiet import quieten
from semalign_pl.plan.recipe import settings_of
from semalign_pl.plan.settings import Plan, Settings
from semalign_pl.start.check import refuse_mistakes

if TYPE_CHECKING:
    from rich.table import Table

OVERHEAD_BYTES = 2**29
"""Memory that the CUDA context takes, in bytes."""
MARGIN = 0.92
"""Share of the GPU's memory to plan with; the rest allows for fragmentation of the allocator."""
ABOUT = {
    "weights": "weights of the frozen base",
    "adapters": "weights of the trained adapter and of the reference adapter, in float32",
    "optimiser": "Adam's two moments per trained weight",
    "gradients": "gradients of the trained adapter, during an update",
    "cache": "KV cache of one batch of rollouts",
    "rollout": "peak of one batch of rollouts, KV cache included",
    "activations": "peak of one micro-batch, forward and backward",
    "head": "logits of one chunk of tokens",
    "encoder": "weights of the rewards' encoders and judges",
    "replaced": "embedding and head before new tokens were added; the weights' file is mapped as a whole",
}


def run(args: Sequence[str]) -> int:
    """Run ``semalign plan``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign plan",
        usage="semalign plan --config RECIPE.yaml [--memory 12GiB] [options]",
        description="Predict a run's peak memory from its recipe, without loading weights; any key of the YAML can be "
        "given as a flag.",
        allow_abbrev=False,
    )
    parser.add_argument("--memory", help="memory of the GPU, e.g. 12GiB; proposes settings that fit it")
    parser.add_argument("--json", type=Path, help="file to write the prediction to")
    parser.add_argument(
        "--overlay",
        type=Path,
        help="YAML file to write the proposal to; give it to fit as a second --config",
    )
    with one_line(args) as status:
        quieten()
        options, recipe = parser.parse_known_args(list(args[1:]))
        available = None if options.memory is None else memory_bytes(options.memory)
        if options.overlay is not None and available is None:
            parser.error("--overlay: nothing is proposed without --memory, e.g. --memory 12GiB")
        if not recipe:
            raise ValueError(
                "--config: missing; give a recipe, e.g. semalign plan --config configs/quickstart/cold_start.yaml"
            )
        refuse_mistakes("fit", recipe)
        print_plan(settings_of(recipe, for_gpu=available is not None), available, options.json, options.overlay)
    return status.code


def print_plan(
    settings: Settings, available: int | None = None, file: Path | None = None, overlay: Path | None = None
) -> None:
    """Print the prediction and, with ``available``, the largest settings that fit.

    Args:
        settings: Settings of the recipe.
        available: Memory of the GPU in bytes; ``None`` for no proposal.
        file: JSON file to write the prediction to.
        overlay: YAML file to write the proposal to.

    Raises:
        ValueError: If no settings fit.
    """
    from semalign_pl.messages.console import Console
    from semalign_pl.plan.predict import predict

    console = Console()
    plan = predict(settings)
    console.print(_table(settings, plan))
    for sentence in settings.notes:
        console.print(f"note: {sentence}", soft_wrap=True)
    if settings.validation_rows:
        console.print(f"note: {describe_validation(settings)}", soft_wrap=True)
    written: dict[str, object] = {"settings": asdict(settings), "bytes": {**vars(plan), "peak": plan.peak}}
    if available is not None:
        proposed, fits = proposal(settings, available)
        console.print(f"For a card of {gib(available)} (peak {gib(fits.peak)}), under model.init_args:")
        options = changes(proposed)
        for name, value in options.items():
            console.print(f"    {name}: {str(value).lower()}")
        if settings.weights == "nf4":
            console.print(bf16_costs(proposed, fits, available), soft_wrap=True)
        written["proposal"] = {"available": available, **options, "peak": fits.peak}
        if overlay is not None:
            write_overlay(overlay, options, f"For {gib(available)}: predicted peak {gib(fits.peak)} (semalign plan).")
    if file is not None:
        write_text(file, to_json(written, file, indent=2) + "\n")


def proposal(settings: Settings, available: int) -> tuple[Settings, Plan]:
    """Largest settings that fit a GPU, with allowance for the CUDA context and fragmentation of the allocator.

    Args:
        settings: Settings of the recipe.
        available: Memory of the GPU in bytes.

    Returns:
        Settings and their predicted memory.

    Raises:
        ValueError: If no settings fit.
    """
    from semalign_pl.plan.predict import largest_settings

    largest = largest_settings(settings, available_bytes(available, settings.cuda))
    if largest is None:
        longest = settings.prompt_tokens + settings.completion_tokens
        raise ValueError(
            f"--memory: {gib(available)} do not hold this run even one row at a time with recomputation; take a "
            f"smaller model.init_args.base, nf4 weights, a smaller lora r, or shorter rows (now {longest} tokens)"
        )
    return largest


def bf16_costs(proposed: Settings, fits: Plan, available: int) -> str:
    """Sentence that compares NF4 with bf16 weights, and with dense copies of NF4 for rollouts.

    Args:
        proposed: Settings with NF4 weights that fit.
        fits: Their predicted memory.
        available: Memory of the GPU in bytes.
    """
    from semalign_pl.plan.predict import predict

    most = available_bytes(available, proposed.cuda)
    choices = {"weights: bf16": replace(proposed, weights="bf16", rollout_weights="stored")}
    if proposed.stage == "grpo" and proposed.rollout_weights == "stored":
        choices["rollout_weights: dense"] = replace(proposed, rollout_weights="dense")
    peaks = {name: predict(choice).peak for name, choice in choices.items()}
    told = [f"{name} has a peak of {gib(peak)}, which {'fits' if peak <= most else 'does not fit'}"
            for name, peak in peaks.items()]  # fmt: skip
    return f"NF4 is dequantised at every forward. With these options, {'; '.join(told)} (nf4: {gib(fits.peak)})."


def describe_validation(settings: Settings) -> str:
    """Sentence about the memory of a validation's completions, which no plan and no proposal counts.

    Args:
        settings: Settings with ``validation_rows`` above 0.
    """
    from semalign_pl.plan.predict import validation_peak

    peak = validation_peak(settings)
    predicted = "" if peak is None else f" (predicted peak {gib(peak)})"
    return (
        f"a validation completes {settings.validation_rows} prompts at once{predicted}, which is not counted; if that "
        "does not fit, lower data.init_args.eval_batch_size"
    )


def available_bytes(memory: int, cuda: bool) -> int:
    """Memory to plan with, in bytes: without CUDA's context, and with allowance for fragmentation of the allocator.

    Args:
        memory: Memory of the GPU in bytes.
        cuda: True on a GPU.
    """
    return round(memory * MARGIN) - (OVERHEAD_BYTES if cuda else 0)


def changes(proposed: Settings) -> dict[str, int | bool]:
    """Options under ``model.init_args`` that a proposal sets.

    Args:
        proposed: Settings returned by ``proposal``.
    """
    names = ["micro_batch_tokens", "recompute", *(["rollout_rows"] if proposed.stage == "grpo" else [])]
    return {name: getattr(proposed, name) for name in names}


def write_overlay(file: Path, options: Mapping[str, object], comment: str) -> None:
    """Write options of the model as a YAML overlay of a recipe: ``--config RECIPE --config FILE``.

    Args:
        file: File to write; its folder is created.
        options: Options under ``model.init_args``.
        comment: Comment in the first line.
    """
    import yaml

    text = yaml.safe_dump({"model": {"init_args": dict(options)}}, sort_keys=False)
    write_text(file, f"# {comment}\n{text}")


def _table(settings: Settings, plan: Plan) -> Table:
    from rich.table import Table

    rows = f"prompts of {settings.prompt_tokens} and completions of {settings.completion_tokens} tokens"
    table = Table(title=f"{settings.stage.upper()} on {settings.base}, {settings.weights}: {rows}")
    table.add_column("component")
    table.add_column("MiB", justify="right")
    table.add_column("what it holds")
    for name, size in vars(plan).items():
        if size:
            table.add_row(name, f"{size / 2**20:,.0f}", ABOUT[name])
    table.add_section()
    extra = "CUDA's context is" if settings.cuda else "libraries (0.8 GiB), and freed memory that C keeps, are"
    table.add_row("peak", f"{plan.peak / 2**20:,.0f}", f"most memory in use at once; {extra} extra")
    return table
