"""Load a causal LM with frozen base weights and trainable LoRA adapters."""

from __future__ import annotations

import logging

import torch

from semalign_pl.engine.self_check import check_logits, choose_forward
from semalign_pl.policy.adapter_checks import check_base_weights, check_ranks, check_same_base, check_targets
from semalign_pl.policy.adapter_folder import read_adapter_folder
from semalign_pl.policy.base_checks import check_rows
from semalign_pl.policy.causal_lm import Weights, check_folder, load_causal_lm
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.policy.lora import fast_lora_forward
from semalign_pl.policy.module_patterns import check_patterns
from semalign_pl.policy.new_adapter import fresh_adapter
from semalign_pl.policy.plain_lora import as_plain_lora
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.saved_adapter import adapt_from_folder, grow_to_saved_rows
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.policy.vocabulary import add_rows, embedding_and_head

__all__ = ["Weights", "load_policy"]
log = logging.getLogger(__name__)


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
    saved = None if adapter is None else read_adapter_folder(adapter)
    if saved is not None:
        check_same_base(saved.path, saved.config.base_model_name_or_path, base)
        if lora is not None:
            check_ranks(saved, lora)
    encoder = load_prompt_encoder(base, adapter, vocabulary)
    model = load_causal_lm("model.init_args.base", base, weights, device)
    rows = len(embedding_and_head(model)[0].get_parameter("weight"))
    check_rows(base, encoder.tokenizer, rows, encoder.new_tokens)
    if saved is None:
        peft_model = fresh_adapter(model, lora or LoraSettings(), add_rows(model, encoder.new_tokens))
    else:
        check_patterns(f"model.init_args.adapter: {adapter}/adapter_config.json", saved.config, model)
        check_base_weights(saved, model)
        add_rows(model, encoder.new_tokens)
        grow_to_saved_rows(model, saved.weights)
        if lora is not None:
            check_targets(saved, lora, model)
        with as_plain_lora(saved, model) as folder:
            peft_model = adapt_from_folder(model, saved.path, folder, base)
    for own in peft_model.peft_config.values():
        # The export records the base of this run; for a hub repository, its main revision.
        own.base_model_name_or_path, own.revision = base, None
    fast_lora_forward(peft_model)
    policy = Policy(peft_model, encoder).train()
    check_logits(policy, base, weights, adapter)
    choose_forward(policy, base)
    if policy.prefix_sharing_unsupported_reason is not None:
        log.warning(
            "%s: completions do not share their prompt's forward: %s", base, policy.prefix_sharing_unsupported_reason
        )
    return policy
