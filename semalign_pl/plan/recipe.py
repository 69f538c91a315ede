"""Settings that determine memory, read from a recipe and from the adapter that it starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from semalign_pl.files.documents import read_json
from semalign_pl.judge.spec import parse_judge
from semalign_pl.plan.settings import Settings
from semalign_pl.policy.settings import LoraSettings, Variant

if TYPE_CHECKING:
    from jsonargparse import Namespace

    from semalign_pl.policy.causal_lm import Weights


def settings_of(recipe: Sequence[str]) -> Settings:
    """Read the settings that determine memory from a recipe.

    Args:
        recipe: ``--config FILE`` and flags, as on the command line of ``fit``.

    Raises:
        ValueError: If the recipe trains no policy.
    """
    from semalign_pl.cli.parsed_recipe import parse_recipe  # imports torch, which a help page does not need
    from semalign_pl.policy.causal_lm import is_missing

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
    sizes = {"SemanticReward": 2 if cuda else 4, "CrossEncoderReward": 4}  # bytes per weight
    encoders = [(str(rewards[kind].encoder), size) for kind, size in sizes.items() if kind in rewards]
    notes = [
        f"there is no encoder {name} yet, so its memory is not counted; plan again when its stage is done"
        for name, _ in encoders
        if is_missing(name)
    ]
    if model.adapter is not None and model.lora is None and not Path(model.adapter).is_dir():
        notes.append(f"there is no adapter {model.adapter} yet, so one of rank {LoraSettings().r} is counted")
    if model.get("rollouts") is not None:
        notes.append(
            "rollouts are a server's; `rollout` is what generation in this process would take, as in a validation"
        )
    notes += [f"the forwards of {term} are not counted; leave room for them" for term in _find_uncounted(config.model)]
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
        rollout_weights=getattr(model, "rollout_weights", "stored"),
        micro_batch_tokens=model.micro_batch_tokens,
        recompute=model.recompute,
        mixed=str(trainer.precision) == "bf16-mixed",
        encoders=tuple((name, size) for name, size in encoders if not is_missing(name)),
        judges=tuple(_local_judges(rewards)),
        sampling=tuple((name, model[name]) for name in names if name in model),
        cuda=cuda,
        new_tokens=_new_tokens(model),
        notes=tuple(notes),
    )


def _local_judges(rewards: Mapping[str, Namespace]) -> Iterator[tuple[str, Weights]]:
    """Folder or hub id, and format of the weights, of each judge that is loaded on this machine."""
    for kind, reward in rewards.items():
        if kind == "RerankerReward":
            yield str(reward.judge), reward.weights
        elif kind == "JudgeReward" and not (spec := parse_judge("JudgeReward.judge", reward.judge)).url:
            yield spec.model, reward.weights


def _find_uncounted(module: Namespace) -> Iterator[str]:
    """Terms of the loss that compare the policy with another distribution, whose memory the plan leaves out."""
    model = module.init_args
    if model.get("anchor") is not None:
        yield "model.init_args.anchor"
    if module.class_path.endswith("SFTModule") and model.get("beta"):
        yield "model.init_args.beta"
    if module.class_path.endswith("DistillModule"):
        yield "the teacher"


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
