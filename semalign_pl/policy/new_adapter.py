"""New LoRA adapter on a base: its PEFT config, and checks of the layers that it names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import nn

from semalign_pl.messages.error_text import first_line
from semalign_pl.messages.suggestion import suggest
from semalign_pl.policy.full import check_full, full_config, is_full
from semalign_pl.policy.module_patterns import check_patterns
from semalign_pl.policy.saved_adapter import keep_in_float32
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.policy.vocabulary import trained_indices
from semalign_pl.run.finished import STARTS

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

MAMBA = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
"""Model types whose ``out_proj`` PEFT refuses to adapt: fused kernels read its weight (peft.tuners.tuners_utils)."""


def fresh_adapter(model: PreTrainedModel, lora: LoraSettings, ids: list[int]) -> PeftModel:
    """Add a new adapter to a base; its update is zero.

    Args:
        model: Base model; becomes part of the PEFT model.
        lora: Settings of the adapter.
        ids: Token ids of new tokens, whose rows are trained.

    Returns:
        PEFT model.

    Raises:
        ValueError: If PEFT cannot adapt the base with these settings.
    """
    from peft import get_peft_model

    config, weights = lora_config(lora, model, ids), sum(p.numel() for p in model.parameters())
    check_patterns("model.init_args.lora", config, model)
    try:
        _check_layer_names(lora.target_modules, model)
        made = get_peft_model(model, config)
        if is_full(config):
            check_full(made, weights, config.ensure_weight_tying)
            keep_in_float32(made)
            return made
        adapted: list[str] = getattr(made.base_model, "targeted_module_names")  # noqa: B009  (torch types it)
        names = [] if isinstance(lora.target_modules, str) else lora.target_modules
        for name in names:  # PEFT raises only if it adapts none of them
            if not any(f".{layer}".endswith(f".{name}") for layer in adapted):
                raise ValueError(f"it does not adapt the layer {name!r}")
        return made
    except (ValueError, TypeError) as error:
        if str(error).startswith("model."):
            raise
        raise ValueError(
            f"model.init_args.lora: PEFT cannot adapt this base so ({first_line(error)}); change `target_modules`, `r` "
            "or `dropout`, which is 0 where experts are adapted"
        ) from error


def lora_config(lora: LoraSettings, model: PreTrainedModel, ids: list[int] | None = None) -> LoraConfig:
    """``LoraConfig`` of a new adapter.

    Args:
        lora: Settings of the adapter.
        model: Base model.
        ids: Token ids of new tokens, whose rows are trained.

    Raises:
        ValueError: If all weights of a quantised base are to be trained.
    """
    from peft import LoraConfig

    if lora.variant == "full":
        return full_config(model)
    modules, times = lora.target_modules, 2 if lora.variant in STARTS else 1
    mamba = modules == "all-linear" and model.config.model_type in MAMBA
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=times * lora.r,
        lora_alpha=times * lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        exclude_modules=["out_proj"] if mamba else None,
        trainable_token_indices=trained_indices(model, ids or []),
        use_rslora=lora.variant == "rslora",
        use_dora=lora.variant == "dora",
    )


def _check_layer_names(names: str | Sequence[str], model: nn.Module) -> None:
    """Refuse names that match no layer of the base: PEFT silently ignores one if another one matches.

    Args:
        names: ``target_modules`` of a new adapter: names of layers, or the last parts of their paths, such as
            ``self_attn.q_proj``. A string is ``all-linear`` or a regular expression, which PEFT checks. Only a string
            that is a bare name is refused here, because it would have to match the whole path of a layer.
        model: Base model.

    Raises:
        ValueError: Suggests the most similar name, and lists all.
    """
    paths = [path for path, _ in model.named_modules() if path]
    for name in [names] if isinstance(names, str) else names:
        if isinstance(names, str) and (not name.isidentifier() or name in paths):
            continue
        if not any(f".{path}".endswith(f".{name}") for path in paths):
            raise ValueError(f"it has no layer {name!r}; {_advice(name, model)}")
        if isinstance(names, str):
            raise ValueError(f"{name!r} is a pattern for whole paths, which none has; write [{name}] for the name")


def _advice(name: str, model: nn.Module) -> str:
    """Suggestion of the most similar layer name, and all names of layers with weights, without block numbers."""
    weighted = [path for path, one in model.named_modules() if isinstance(getattr(one, "weight", None), nn.Parameter)]
    layers = list(dict.fromkeys(path.rpartition(".")[2] for path in weighted if path))
    guess = suggest(name.rpartition(".")[2], layers, "")
    return f"{guess} it has {', '.join(layers[:40])}".strip()
