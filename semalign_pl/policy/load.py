"""Load a causal LM with frozen base weights and trainable LoRA adapters."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch

from semalign_pl.documents import read_json
from semalign_pl.policy.lora import lighten
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.sharing import why_not_shared
from semalign_pl.policy.template import find_chat
from semalign_pl.policy.vocabulary import VocabularySettings, add_tokens, find_tokens, saved_tokens, trained_indices

log = logging.getLogger(__name__)
Weights = Literal["nf4", "bf16", "fp32"]


@dataclass(frozen=True)
class LoraSettings:
    """Low-rank adapters (arXiv 2106.09685); the defaults are the method's.

    Attributes:
        r: Rank.
        alpha: Scale; the update is multiplied by ``alpha / r``.
        dropout: Dropout on the adapter's input while training.
        target_modules: ``all-linear`` (every attention and MLP linear), or the names of the linears.
    """

    r: int = 64
    alpha: int = 128
    dropout: float = 0.05
    target_modules: str | list[str] | tuple[str, ...] = "all-linear"


def load_policy(
    base: str,
    weights: Weights,
    lora: LoraSettings | None,
    adapter: str | None,
    device: torch.device,
    vocabulary: VocabularySettings | None = None,
) -> Policy:
    """Load base, tokenizer and adapters.

    The reference is the policy as it is now: a frozen copy of ``adapter``, or the bare base for a fresh adapter
    (whose update is zero).

    Args:
        base: Hub id or folder of a causal LM.
        weights: ``nf4`` (4-bit NormalFloat, double quantisation, arXiv 2305.14314), ``bf16`` or ``fp32``.
        lora: Settings of a fresh adapter; ``None`` takes the defaults, or those of ``adapter``.
        adapter: PEFT folder to start from and go on training.
        device: Where the weights go.
        vocabulary: Tokens to add to a fresh adapter; one that was trained with tokens brings its own.

    Returns:
        The policy, in train mode; adapter weights are float32.

    Raises:
        ValueError: If base or adapter cannot be loaded, do not fit together, or ``lora`` or ``vocabulary`` contradict
            ``adapter``.
    """
    from peft import LoraConfig, PeftModel, get_peft_model

    check_folder("model.init_args.base", base)
    if adapter is not None:
        check_adapter(adapter, lora)
    model, tokenizer = load_causal_lm("model.init_args.base", base, weights, device)
    if adapter is None:
        tokens = [] if vocabulary is None else find_tokens(vocabulary, tokenizer)
        settings = lora or LoraSettings()
        modules = settings.target_modules
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=settings.r,
            lora_alpha=settings.alpha,
            lora_dropout=settings.dropout,
            target_modules=modules if isinstance(modules, str) else list(modules),
            trainable_token_indices=trained_indices(model, add_tokens(model, tokenizer, tokens)),
        )
        peft_model = get_peft_model(model, config)
    else:
        tokens = saved_tokens(adapter, tokenizer)
        if vocabulary is not None and not tokens:
            raise ValueError(
                f"model.init_args.vocabulary: {adapter} was trained without new tokens and cannot be given any; leave "
                "`vocabulary` out, or `adapter` to start afresh"
            )
        add_tokens(model, tokenizer, tokens)
        try:
            peft_model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
            loaded = peft_model.load_adapter(adapter, adapter_name="reference", is_trainable=False)
            odd = [*loaded.unexpected_keys, *loaded.missing_keys]
            if odd:  # of these PEFT says nothing: it leaves them out, or leaves them as initialised
                raise RuntimeError(f"{len(odd)} tensors have no counterpart, first {odd[0]}")
        except (RuntimeError, ValueError, IndexError) as error:
            raise ValueError(
                f"model.init_args.adapter: {adapter} does not fit model.init_args.base: {base} "
                f"({str(error).splitlines()[-1].strip()[:200]}); give the base that the adapter was trained on"
            ) from error
        for name, parameter in peft_model.named_parameters():
            if ".reference" in name:  # PEFT thaws new tokens' rows where it casts them to float32
                parameter.requires_grad_(False)
    peft_model.train()
    lighten(peft_model)
    policy = Policy(peft_model, tokenizer, eos_ids=_eos_ids(model, tokenizer))
    policy.cannot_share = why_not_shared(policy)
    if policy.cannot_share is not None:
        log.warning("%s: completions do not share their prompt's forward: %s", base, policy.cannot_share)
    return policy


def load_causal_lm(option: str, base: str, weights: Weights, device: torch.device) -> tuple[Any, Any]:
    """Load a frozen causal LM and its tokenizer.

    Args:
        option: The YAML key, for the message.
        base: Hub id or folder.
        weights: ``nf4``, ``bf16`` or ``fp32``.
        device: Where the weights go.

    Returns:
        The model, in eval mode, and the tokenizer.

    Raises:
        ValueError: If it cannot be loaded.
    """
    from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig

    compute_dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    dtype = {"nf4": compute_dtype, "bf16": torch.bfloat16, "fp32": torch.float32}[weights]
    quantization = None
    if weights == "nf4":
        quantization = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=compute_dtype,
        )
    try:
        tokenizer = AutoTokenizer.from_pretrained(base)
        model = AutoModelForCausalLM.from_pretrained(
            base, dtype=dtype, quantization_config=quantization, device_map={"": device}
        )
    except (OSError, KeyError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"{option}: cannot load {base!r}: {reason} Give a folder that holds config.json, tokenizer and weights of "
            "a causal LM, or a hub id that this machine can reach."
        ) from error
    for module in model.modules():
        # On CPUs with AVX512-BF16, bitsandbytes 0.50 repacks a weight at its first forward in eval mode into a layout
        # whose matmul has no backward: after one rollout, gradients of earlier layers were wrong by 42 %, silently.
        if hasattr(module, "support_avx512bf16_for_cpu"):
            setattr(module, "support_avx512bf16_for_cpu", False)  # noqa: B010  (torch types attributes as tensors)
    model.requires_grad_(False)
    return model, tokenizer


def check_folder(option: str, path: str) -> None:
    """Refuse a local path that is not there before transformers takes it for a hub id.

    Args:
        option: The YAML key, for the message.
        path: Hub id (``name`` or ``owner/name``) or folder.

    Raises:
        ValueError: If ``path`` can only be a folder, and is none.
    """
    is_local = path.startswith((".", "/", "~")) or path.count("/") > 1
    if is_local and not Path(path).is_dir():
        raise ValueError(f"{option}: there is no folder {path}; give an existing folder or a hub id such as owner/name")


def check_adapter(adapter: str, lora: LoraSettings | None) -> None:
    """Refuse a missing adapter folder, or LoRA settings that contradict the adapter's own.

    Args:
        adapter: PEFT folder.
        lora: Settings the user gave, if any.

    Raises:
        ValueError: With the option and the remedy.
    """
    from peft import LoraConfig

    settings = Path(adapter) / "adapter_config.json"
    if not settings.is_file():
        raise ValueError(
            f"model.init_args.adapter: {adapter} is not an adapter folder (no adapter_config.json in it); give the "
            "`adapter` folder that a finished run wrote"
        )
    read_json(settings, "give the `adapter` folder that a finished run wrote", f"model.init_args.adapter: {settings}")
    config: Any = LoraConfig.from_pretrained(adapter)
    there = (config.r, config.lora_alpha, config.lora_dropout)
    if lora is not None and there != (lora.r, lora.alpha, lora.dropout):
        raise ValueError(
            f"model.init_args.lora: r {lora.r}, alpha {lora.alpha}, dropout {lora.dropout} contradict {adapter}, which "
            f"has r {there[0]}, alpha {there[1]}, dropout {there[2]}; leave `lora` out to go on with the adapter's own "
            "settings"
        )


def _eos_ids(model: Any, tokenizer: Any) -> tuple[int, ...]:
    """Every id that ends a completion, the one to train on first: the template's own, or the tokenizer's.

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
