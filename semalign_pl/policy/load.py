"""Load a causal LM with frozen base weights and trainable LoRA adapters."""

from __future__ import annotations

import logging

import torch

from semalign_pl.engine.self_check import check_logits, choose_forward
from semalign_pl.policy.adapter_checks import (
    check_base_weights,
    check_ranks,
    check_same_base,
    check_same_tokens,
    check_targets,
)
from semalign_pl.policy.adapter_folder import read_adapter_folder
from semalign_pl.policy.adapter_start import check_scale, read_terms
from semalign_pl.policy.base_checks import check_rows
from semalign_pl.policy.blend import blend
from semalign_pl.policy.causal_lm import Weights, check_folder, load_causal_lm
from semalign_pl.policy.corda import corda_adapter
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.policy.lora import fast_lora_forward
from semalign_pl.policy.module_patterns import check_patterns
from semalign_pl.policy.new_adapter import fresh_adapter
from semalign_pl.policy.norms import fast_norm_forward
from semalign_pl.policy.osf import osf_adapter
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.row_initialization import align_new_tokens, initialize_rows
from semalign_pl.policy.saved_adapter import adapt_from_folder, grow_to_saved_rows
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.policy.vocabulary import add_rows, embedding_and_head
from semalign_pl.run.finished import STARTS

__all__ = ["Weights", "load_policy"]
log = logging.getLogger(__name__)


def load_policy(
    base: str,
    weights: Weights,
    lora: LoraSettings | None,
    adapter: str | None,
    device: torch.device,
    vocabulary: VocabularySettings | None = None,
    adapter_scale: float = 1.0,
    scale_from: str = "base",
    chat_template: str | None = None,
) -> Policy:
    """Load base, tokenizer and adapters.

    The reference is the policy before training: a frozen copy of ``adapter``, scaled as the policy is, or the bare base
    for a new adapter (whose update is zero). Dropout of the base is never active (``Policy.train``), so
    ``lora.dropout`` is the only one.

    Args:
        base: Hub id or folder of a causal LM.
        weights: Quantisation or precision of the base: ``nf4`` (4-bit NormalFloat, double quantisation, arXiv
            2305.14314), ``bf16`` or ``fp32``.
        lora: Settings of a new adapter; ``None`` for the defaults, or for those of ``adapter``.
        adapter: PEFT folder of the adapter to continue training; ``None`` for a new adapter.
        device: Device of the weights.
        vocabulary: Settings of tokens to add to a new adapter; a saved adapter has its own.
        adapter_scale: Scale of the update of ``adapter``, between 0 (``scale_from`` alone) and 1 (``adapter`` itself).
        scale_from: Start of the scale: ``base``; ``start``, the adapter that the training of ``adapter`` started from;
            or a PEFT folder.
        chat_template: Jinja file or text of a chat template, as in ``load_prompt_encoder``.

    Returns:
        Policy with its adapter in train mode; adapter weights are float32.

    Raises:
        ValueError: If base or adapter cannot be loaded or do not fit together; if ``lora``, ``vocabulary`` or
            ``chat_template`` contradict ``adapter``; if the template cannot be used; if the base gives NaN; or if its
            architecture cannot be run exactly.
    """
    check_folder("model.init_args.base", base)
    check_scale(adapter, adapter_scale, scale_from)
    saved = None if adapter is None else read_adapter_folder(adapter)
    terms = [] if saved is None else read_terms(saved, adapter_scale, scale_from)
    adapters = [] if saved is None else [saved, *(one for one, _ in terms if one is not saved)]
    for one in adapters:
        check_same_base(one, base)
    if saved is not None and lora is not None:
        check_ranks(saved, lora)
    encoder = load_prompt_encoder(base, adapter, vocabulary, chat_template)
    model = load_causal_lm("model.init_args.base", base, weights, device)
    rows = len(embedding_and_head(model)[0].get_parameter("weight"))
    check_rows(base, encoder.tokenizer, rows, encoder.new_tokens)
    if saved is None:
        lora, ids = lora or LoraSettings(), add_rows(model, encoder.new_tokens)
        if lora.variant == "corda":
            peft_model = corda_adapter(model, lora, ids, encoder.tokenizer)
        else:
            peft_model = (osf_adapter if lora.variant == "osf" else fresh_adapter)(model, lora, ids)
    else:
        for one in adapters:
            check_patterns(f"{one.option}: {one.path}/adapter_config.json", one.config, model)
            check_base_weights(one, model)
        add_rows(model, encoder.new_tokens)
        for one in adapters:
            grow_to_saved_rows(model, one.weights)
            if one is not saved:
                check_same_tokens(one, encoder.tokenizer)
        if lora is not None:
            check_targets(saved, lora, model)
        peft_model = adapt_from_folder(model, saved, blend(terms, model), base)
    if saved is None and vocabulary is not None and vocabulary.initialization == "aligned" and encoder.new_tokens:
        initialize_rows(peft_model, align_new_tokens(vocabulary, encoder.tokenizer, encoder.new_tokens))
    for own in peft_model.peft_config.values():
        # The export records the base of this run; for a hub repository, its main revision.
        own.base_model_name_or_path, own.revision = base, None
    fast_lora_forward(peft_model)
    fast_norm_forward(peft_model)
    policy = Policy(peft_model, encoder).train()
    policy.half_frozen = saved is None and lora is not None and lora.variant in STARTS
    check_logits(policy, base, weights, adapter)
    choose_forward(policy, base)
    if policy.prefix_sharing_unsupported_reason is not None:
        log.warning(
            "%s: completions do not share their prompt's forward: %s", base, policy.prefix_sharing_unsupported_reason
        )
    return policy
