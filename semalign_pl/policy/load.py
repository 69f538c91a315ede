"""Load a causal LM with frozen base weights and trainable LoRA adapters."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import torch

from semalign_pl.chat.find_format import find_chat
from semalign_pl.engine.self_check import check_finite, choose_forward
from semalign_pl.policy.adapter_checks import check_base_weights, check_ranks, check_same_base, check_targets
from semalign_pl.policy.adapter_folder import read_adapter_folder
from semalign_pl.policy.base_checks import check_rows
from semalign_pl.policy.causal_lm import Weights, check_folder, load_causal_lm
from semalign_pl.policy.lora import fast_lora_forward
from semalign_pl.policy.module_patterns import check_patterns
from semalign_pl.policy.new_adapter import LoraSettings, fresh_adapter
from semalign_pl.policy.plain_lora import as_plain_lora
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.saved_adapter import adapt_from_folder, grow_to_saved_rows
from semalign_pl.policy.vocabulary import VocabularySettings, add_tokens, embedding_and_head, find_tokens, saved_tokens

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["LoraSettings", "Weights", "check_folder", "load_causal_lm", "load_policy"]
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
    model, tokenizer = load_causal_lm("model.init_args.base", base, weights, device)
    check_rows(base, tokenizer, len(embedding_and_head(model)[0].get_parameter("weight")))
    if saved is None:
        peft_model = _add_fresh_adapter(model, tokenizer, lora or LoraSettings(), vocabulary)
    else:
        tokens = saved_tokens(saved.path, tokenizer)
        if vocabulary is not None and not tokens:
            raise ValueError(
                f"model.init_args.vocabulary: {adapter} was trained without new tokens and cannot be given any; leave "
                "`vocabulary` out, or `adapter` to start afresh"
            )
        check_patterns(f"model.init_args.adapter: {adapter}/adapter_config.json", saved.config, model)
        check_base_weights(saved, model)
        add_tokens(model, tokenizer, tokens)
        grow_to_saved_rows(model, saved.weights)
        if lora is not None:
            check_targets(saved, lora, model)
        with as_plain_lora(saved, model) as folder:
            peft_model = adapt_from_folder(model, saved.path, folder, base)
    for own in peft_model.peft_config.values():
        # The export records the base of this run; for a hub repository, its main revision.
        own.base_model_name_or_path, own.revision = base, None
    fast_lora_forward(peft_model)
    policy = Policy(peft_model, tokenizer, eos_ids=_eos_ids(model, tokenizer)).train()
    check_finite(policy, base, weights, adapter)
    choose_forward(policy, base)
    if policy.prefix_sharing_unsupported_reason is not None:
        log.warning(
            "%s: completions do not share their prompt's forward: %s", base, policy.prefix_sharing_unsupported_reason
        )
    return policy


def _add_fresh_adapter(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    lora: LoraSettings,
    vocabulary: VocabularySettings | None,
) -> PeftModel:
    tokens = [] if vocabulary is None else find_tokens(vocabulary, tokenizer)
    return fresh_adapter(model, lora, add_tokens(model, tokenizer, tokens))


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Token ids that end a completion; the first, which is trained, is the chat template's or else the tokenizer's.

    Raises:
        ValueError: If there is none, or the chat template does not render a user's message.
    """
    from lightning.pytorch.utilities import rank_zero_info

    chat = find_chat(tokenizer)
    configured = model.generation_config.eos_token_id
    listed = configured if isinstance(configured, list) else [configured]
    stops = [int(i) for i in (tokenizer.eos_token_id, *listed) if i is not None]
    own: list[int] = [] if chat.end is None else [tokenizer.convert_tokens_to_ids(chat.end)]
    ids = tuple(dict.fromkeys(own + stops))
    if not ids:
        raise ValueError(
            "model.init_args.base: neither tokenizer nor generation config name an EOS token; set `eos_token` in "
            "tokenizer_config.json, or completions would never end"
        )
    tokens = [f"{token} ({i})" for token, i in zip(tokenizer.convert_ids_to_tokens(ids), ids, strict=True)]
    source = "the tokenizer's eos_token" if chat.end is None else "the token that the chat template writes there"
    also = f"; generation also stops at {', '.join(tokens[1:])}" if tokens[1:] else ""
    rank_zero_info("%s: completions end in %s, %s%s", tokenizer.name_or_path, tokens[0], source, also)
    for note in chat.notes:
        log.warning("%s: %s", tokenizer.name_or_path, note)
    if ids[0] not in stops:
        log.warning(
            "%s: the chat template ends an answer with %s, which neither eos_token nor generation_config.json name as "
            "a stop token: here it is one; to serve the adapter, add it to eos_token_id in generation_config.json",
            tokenizer.name_or_path,
            tokens[0],
        )
    return ids
