"""Load a causal LM with frozen base weights and trainable LoRA adapters."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from typing import Any

import torch

from semalign_pl.engine.self_check import check_finite, choose_forward
from semalign_pl.messages.error_text import first_line
from semalign_pl.policy.adapter_folder import read_config, read_weights
from semalign_pl.policy.causal_lm import Weights, check_folder, load_causal_lm
from semalign_pl.policy.embedding_rows import check_rows, grow_to_saved_rows
from semalign_pl.policy.layer_names import check_layer_names
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.policy.lora import lighten
from semalign_pl.policy.module_patterns import check_patterns
from semalign_pl.policy.plain_lora import as_plain_lora
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.same_base import check_same_base
from semalign_pl.policy.saved_adapter import adapt_from_folder, check_base_weights, check_targets
from semalign_pl.policy.vocabulary import VocabularySettings, add_rows, trained_indices

__all__ = ["LoraSettings", "Weights", "check_folder", "fresh_adapter", "load_causal_lm", "load_policy", "lora_config"]
log = logging.getLogger(__name__)
MAMBA = ("falcon_h1", "falcon_mamba", "mamba", "mamba2", "nemotron_h")
"""Model types whose ``out_proj`` PEFT refuses to adapt: fused kernels read its weight (peft.tuners.tuners_utils)."""


@dataclass(frozen=True)
class LoraSettings:
    """Settings of a new LoRA adapter (arXiv 2106.09685); the defaults are the method's.

    Attributes:
        r: Rank of the update.
        alpha: Scale of the update, which is multiplied by ``alpha / r``.
        dropout: Dropout probability on the adapter's input in training.
        target_modules: Layers to adapt: ``all-linear`` (every linear layer except the head and those that PEFT
            refuses), or names of linear layers.
    """

    r: int = 64
    alpha: int = 128
    dropout: float = 0.05
    target_modules: str | list[str] | tuple[str, ...] = "all-linear"

    def __post_init__(self) -> None:
        """Refuse an alpha that trains nothing, and an invalid pattern.

        Raises:
            ValueError: Names the option and the remedy.
        """
        if self.alpha <= 0:
            raise ValueError(f"model.init_args.lora.alpha: {self.alpha} would leave the base as it is; use e.g. 2 * r")
        try:
            re.compile(self.target_modules if isinstance(self.target_modules, str) else "")
        except re.error as error:
            raise ValueError(
                f"model.init_args.lora.target_modules: {self.target_modules!r} is no regular expression ({error}); "
                "correct it, or give a list of names"
            ) from error


def load_policy(
    base: str,
    weights: Weights,
    lora: LoraSettings | None,
    adapter: str | None,
    device: torch.device,
    vocabulary: VocabularySettings | None = None,
) -> Policy:
    """Load base, tokenizer and adapters.

    The reference is the policy before training: a frozen copy of ``adapter``, or the bare base for a new adapter (whose
    update is zero). Dropout of the base is never active (``Policy.train``), so ``lora.dropout`` is the only one.

    Args:
        base: Hub id or folder of a causal LM.
        weights: Quantisation or precision of the base: ``nf4`` (4-bit NormalFloat, double quantisation, arXiv
            2305.14314), ``bf16`` or ``fp32``.
        lora: Settings of a new adapter; ``None`` for the defaults, or for those of ``adapter``.
        adapter: PEFT folder of the adapter to continue training; ``None`` for a new adapter.
        device: Device of the weights.
        vocabulary: Settings of tokens to add to a new adapter; a saved adapter has its own.

    Returns:
        Policy with its adapter in train mode; adapter weights are float32.

    Raises:
        ValueError: If base or adapter cannot be loaded or do not fit together; if ``lora`` or ``vocabulary`` contradict
            ``adapter``; if the base gives NaN; or if its architecture cannot be run exactly.
    """
    check_folder("model.init_args.base", base)
    config: Any = None if adapter is None else read_config(adapter)
    state = {} if adapter is None else read_weights(adapter)
    if adapter is not None:
        check_same_base(adapter, config.base_model_name_or_path, base)
        if lora is not None:
            _check_ranks(adapter, config, lora)
    encoder = load_prompt_encoder(base, adapter, vocabulary)
    model = load_causal_lm("model.init_args.base", base, weights, device)
    check_rows(base, encoder.tokenizer, model.get_input_embeddings().weight.shape[0], encoder.new_tokens)
    if adapter is None:
        peft_model = fresh_adapter(model, lora or LoraSettings(), add_rows(model, encoder.new_tokens))
    else:
        check_patterns(f"model.init_args.adapter: {adapter}/adapter_config.json", config, model)
        check_base_weights(adapter, config, state, model)
        add_rows(model, encoder.new_tokens)
        grow_to_saved_rows(model, state)
        if lora is not None:
            wanted = lora_config(lora, model)
            check_patterns("model.init_args.lora", wanted, model)
            check_targets(adapter, config, wanted, model)
        with as_plain_lora(adapter, config, state, model) as folder:
            peft_model = adapt_from_folder(model, adapter, folder, base)
    for own in peft_model.peft_config.values():
        # The export records the base of this run; for a hub repository, its main revision.
        own.base_model_name_or_path, own.revision = base, None
    lighten(peft_model)
    policy = Policy(peft_model, encoder).train()
    check_finite(policy, base, weights, adapter)
    choose_forward(policy, base)
    if policy.prefix_sharing_unsupported_reason is not None:
        log.warning(
            "%s: completions do not share their prompt's forward: %s", base, policy.prefix_sharing_unsupported_reason
        )
    return policy


def fresh_adapter(model: Any, lora: LoraSettings, ids: list[int]) -> Any:
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

    config = lora_config(lora, model, ids)
    check_patterns("model.init_args.lora", config, model)
    try:
        check_layer_names(lora.target_modules, model)
        made: Any = get_peft_model(model, config)
        names = [] if isinstance(lora.target_modules, str) else lora.target_modules
        for name in names:  # PEFT raises only if it adapts none of them
            if not any(f".{found}".endswith(f".{name}") for found in made.base_model.targeted_module_names):
                raise ValueError(f"it does not adapt the layer {name!r}")
        return made
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"model.init_args.lora: PEFT cannot adapt this base so ({first_line(error)}); change `target_modules`, `r` "
            "or `dropout`, which is 0 where experts are adapted"
        ) from error


def lora_config(lora: LoraSettings, model: Any, ids: list[int] | None = None) -> Any:
    """``LoraConfig`` of a new adapter.

    Args:
        lora: Settings of the adapter.
        model: Base model.
        ids: Token ids of new tokens, whose rows are trained.
    """
    from peft import LoraConfig

    modules = lora.target_modules
    mamba = modules == "all-linear" and model.config.model_type in MAMBA
    return LoraConfig(
        task_type="CAUSAL_LM",
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=modules if isinstance(modules, str) else list(modules),
        exclude_modules=["out_proj"] if mamba else None,
        trainable_token_indices=trained_indices(model, ids or []),
    )


def _check_ranks(adapter: str, config: Any, lora: LoraSettings) -> None:
    """Refuse LoRA settings that contradict the adapter's own."""
    there = (config.r, config.lora_alpha, config.lora_dropout)
    if there != (lora.r, lora.alpha, lora.dropout):
        raise ValueError(
            f"model.init_args.lora: r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout} contradict {adapter}, which "
            f"has r {there[0]}, alpha {there[1]}, dropout {there[2]}; leave `lora` out to go on with the adapter's own "
            "settings"
        )
