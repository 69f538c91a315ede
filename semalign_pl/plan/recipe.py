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


def settings_of(recipe: Sequence[str], for_gpu: bool = False) -> Settings:
    """Read the settings that determine memory from a recipe.

    Args:
        recipe: ``--config FILE`` and flags, as on the command line of ``fit``.
        for_gpu: True to plan ``trainer.accelerator: auto`` for a GPU where there is none.

    Raises:
        ValueError: If the recipe trains no policy.
    """
    import torch  # here, as a help page does not need it

    from semalign_pl.cli.parsed_recipe import parse_recipe
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
    auto = str(trainer.accelerator) == "auto"
    cuda = for_gpu or torch.cuda.is_available() if auto else str(trainer.accelerator) in ("gpu", "cuda")
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
    if auto:
        planned, other = ("GPU", "cpu") if cuda else ("CPU", "gpu")
        notes.append(
            f"trainer.accelerator is auto, and this plan is for a {planned}; for the other, give "
            f"--trainer.accelerator {other}"
        )
    if model.adapter is not None and model.lora is None and not Path(model.adapter).is_dir():
        notes.append(f"there is no adapter {model.adapter} yet, so one of rank {LoraSettings().r} is counted")
    if model.get("rollouts") is not None:
        notes.append(
            "rollouts are a server's; `rollout` is what generation in this process would take, as in a validation"
        )
    notes += [f"the forwards of {term} are not counted; leave room for them" for term in _find_uncounted(config)]
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
        validation_rows=_validation_rows(config),
    )


def _local_judges(rewards: Mapping[str, Namespace]) -> Iterator[tuple[str, Weights]]:
    """Folder or hub id, and format of the weights, of each judge that is loaded on this machine."""
    for kind, reward in rewards.items():
        if kind == "RerankerReward":
            yield str(reward.judge), reward.weights
        elif kind == "JudgeReward" and not (spec := parse_judge("JudgeReward.judge", reward.judge)).url:
            yield spec.model, reward.weights


def _validation_rows(config: Namespace) -> int:
    """Number of prompts that a validation of the fit completes at once; 0 if it completes none."""
    data = config.data.init_args
    given = data.get("validation") or []
    corpora = given if isinstance(given, list) else [given]
    tasks = [(None if isinstance(corpus, str) else corpus.get("task")) or data.task for corpus in corpora]
    if config.trainer.limit_val_batches == 0 or all(task.class_path.endswith("RawText") for task in tasks):
        return 0  # raw text is not completed
    return min(data.eval_batch_size, data.eval_limit or data.eval_batch_size)


def _find_uncounted(config: Namespace) -> Iterator[str]:
    """Models and terms of the loss whose forwards the plan leaves out."""
    module, model = config.model, config.model.init_args
    if model.get("anchor") is not None:
        yield "model.init_args.anchor"
    if module.class_path.endswith("SFTModule") and model.get("beta"):
        yield "model.init_args.beta"
    if module.class_path.endswith("DistillModule"):
        yield "the teacher"
    for callback in config.trainer.callbacks or []:
        name, options = callback.class_path.rsplit(".", 1)[-1], callback.get("init_args") or {}
        if name == "Evaluation" and options.get("encoder") is not None and _validation_rows(config):
            yield "Evaluation.encoder, and its weights,"
        if name.endswith("Probe") and (every := options.get("every_n_steps")) is not None:
            yield f"{name}, which measures every {every} steps,"


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
