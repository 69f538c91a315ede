"""``semalign plan``: a table of the predicted memory, and settings that fit a GPU."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semalign_pl.files.atomic import write_text
from semalign_pl.files.documents import read_json
from semalign_pl.files.json_text import to_json
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.quiet import quieten
from semalign_pl.plan.amount import memory_bytes
from semalign_pl.plan.settings import Plan, Settings
from semalign_pl.policy.settings import LoraSettings, Variant
from semalign_pl.start.check import refuse_mistakes

if TYPE_CHECKING:
    from jsonargparse import Namespace
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
        description="Predict a run's peak memory from its recipe, without loading weights; any key of the YAML can be "
        "given as a flag.",
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
        print_plan(settings_of(recipe), available, options.json, options.overlay)
    return status.code


def settings_of(recipe: Sequence[str]) -> Settings:
    """Read the settings that determine memory from a recipe.

    Args:
        recipe: ``--config FILE`` and flags, as on the command line of ``fit``.

    Raises:
        ValueError: If the recipe trains no policy.
    """
    from semalign_pl.cli.parsed_recipe import parse_recipe  # imports torch, which a help page does not need

    config = parse_recipe(recipe).settings
    model = config.model.init_args
    if "max_new_tokens" not in model:
        raise ValueError(
            f"semalign plan: {config.model.class_path.rsplit('.', 1)[-1]} trains no policy, and only those are planned "
            "(SFTModule, GRPOModule); an encoder needs 16 bytes per weight, and memory for micro_batch texts"
        )
    stage: Literal["sft", "grpo"] = "grpo" if "num_generations" in model else "sft"
    generations = model.num_generations if stage == "grpo" else 1
    trainer = config.trainer
    cuda = str(trainer.accelerator) in ("gpu", "cuda")
    rewards = {
        c.class_path.rsplit(".", 1)[-1]: c.init_args for c in trainer.callbacks or [] if "Reward" in c.class_path
    }
    encoders = {"SemanticReward": 2 if cuda else 4, "CrossEncoderReward": 4}  # bytes per weight
    names = ("temperature", "top_p", "top_k", "min_p")
    return Settings(
        base=model.base,
        stage=stage,
        weights=model.weights,
        lora=_lora(model),
        with_reference=model.adapter is not None,
        prompt_tokens=model.max_prompt_tokens,
        completion_tokens=model.max_new_tokens,
        rows=config.data.init_args.batch_size * generations,
        num_generations=generations,
        rollout_rows=model.rollout_rows if stage == "grpo" else 1,
        micro_batch_tokens=model.micro_batch_tokens,
        recompute=model.recompute,
        mixed=str(trainer.precision) == "bf16-mixed",
        encoders=tuple((str(rewards[kind].encoder), size) for kind, size in encoders.items() if kind in rewards),
        judges=tuple((str(r.judge), r.weights) for kind, r in rewards.items() if kind == "RerankerReward"),
        sampling=tuple((name, model[name]) for name in names if name in model),
        cuda=cuda,
        new_tokens=_new_tokens(model),
    )


def _read_saved_lora(model: Namespace) -> Mapping[str, Any] | None:
    """Config of the adapter to start from; ``None`` if there is no such folder yet."""
    if model.adapter is None or not Path(model.adapter).is_dir():
        return None
    return read_json(Path(model.adapter) / "adapter_config.json", "give the `adapter` folder that a finished run wrote")


def _new_tokens(model: Namespace) -> int:
    """Maximum number of new tokens in the vocabulary; a small corpus may give fewer."""
    if model.vocabulary is not None:
        return model.vocabulary.tokens
    indices = (_read_saved_lora(model) or {}).get("trainable_token_indices") or {}
    return max(map(len, indices.values()), default=0)


def _lora(model: Namespace) -> LoraSettings:
    from peft.utils.constants import DUMMY_TARGET_MODULES

    lora = LoraSettings() if model.lora is None else LoraSettings(**vars(model.lora))
    if model.lora is None and (saved := _read_saved_lora(model)) is not None:
        between = 0 < model.get("adapter_scale", 1.0) < 1 and model.get("scale_from", "base") != "base"
        rank = saved["r"] * (2 if between else 1)  # of a point between two adapters, the rank of both; taken as equal
        if saved["target_modules"] == DUMMY_TARGET_MODULES:
            return LoraSettings(variant="full")
        variant: Variant = "dora" if saved.get("use_dora") else "rslora" if saved.get("use_rslora") else "lora"
        lora = LoraSettings(rank, saved["lora_alpha"], saved["lora_dropout"], saved["target_modules"], variant)
    return lora if isinstance(lora.target_modules, str) else replace(lora, target_modules=tuple(lora.target_modules))


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

    console = Console()
    from semalign_pl.plan.predict import predict

    plan = predict(settings)
    console.print(_table(settings, plan))
    written: dict[str, object] = {"settings": asdict(settings), "bytes": {**vars(plan), "peak": plan.peak}}
    if available is not None:
        proposed, fits = proposal(settings, available)
        console.print(f"For a card of {_gib(available)} (peak {_gib(fits.peak)}), under model.init_args:")
        options = changes(proposed)
        for name, value in options.items():
            console.print(f"    {name}: {str(value).lower()}")
        written["proposal"] = {"available": available, **options, "peak": fits.peak}
        if overlay is not None:
            write_overlay(overlay, options, f"For {_gib(available)}: predicted peak {_gib(fits.peak)} (semalign plan).")
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

    largest = largest_settings(settings, round(available * MARGIN) - (OVERHEAD_BYTES if settings.cuda else 0))
    if largest is None:
        longest = settings.prompt_tokens + settings.completion_tokens
        raise ValueError(
            f"--memory: {_gib(available)} do not hold this run even one row at a time with recomputation; take a "
            f"smaller model.init_args.base, nf4 weights, a smaller lora r, or shorter rows (now {longest} tokens)"
        )
    return largest


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
    table.add_row("peak", f"{plan.peak / 2**20:,.0f}", "most memory in use at once; CUDA's context is extra")
    return table


def _gib(size: int) -> str:
    return f"{size / 2**30:.1f} GiB"
