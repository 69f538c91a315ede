"""Checks of a base: no adapter, no downloaded code, a row per token, positions that do not depend on the batch."""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

log = logging.getLogger(__name__)

LEARNED_POSITIONS = ("wpe", "embed_positions", "position_embeddings")
"""Names of tables of learned positions in transformers: GPT-2's, OPT's, BERT's."""


def refuse_adapter(option: str, base: str, is_adapter: bool) -> None:
    """Refuse an adapter folder: transformers would silently load its base instead, or the adapter inside the base."""
    if is_adapter:
        remedy = "give it as model.init_args.adapter, and " if option == "model.init_args.base" else ""
        raise ValueError(
            f"{option}: {base} holds an adapter (adapter_config.json), not a whole model; {remedy}give the base "
            "that it was trained on here"
        )


def refuse_kernels(option: str, base: str, config: PreTrainedConfig) -> None:
    """Refuse attention that transformers would download as compiled code (``attn_implementation: owner/name``)."""
    for one in (config, config.get_text_config()):
        named = getattr(one, "_attn_implementation", None)
        if isinstance(named, str) and "/" in named:
            raise ValueError(
                f"{option}: {base} names code on the hub as its attention ({named}, attn_implementation in its "
                "config.json), which is never run; remove that line from config.json"
            )


def warn_slow_bf16(option: str, setting: str, instead: str, device: torch.device) -> None:
    """Say in one line that bfloat16 is slow on a CPU without instructions for it.

    Measured on a CPU with AVX2 alone: matrix products forward and backward are 15 to 18 times as slow as in float32.

    Args:
        option: YAML key for the message.
        setting: Setting that chooses bfloat16.
        instead: Setting that chooses float32.
        device: Device of the products.
    """
    cpu: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()  # not in every version of torch
    native = any(cpu.get(name) for name in ("avx512_bf16", "amx_bf16"))
    if device.type == "cpu" and cpu.get("architecture") == "x86_64" and not native:
        log.warning(
            "%s: this CPU (%s) has no bfloat16 instructions, so `%s` is about 15 times as slow as `%s`, which needs "
            "more memory",
            option,
            cpu.get("cpu_name"),
            setting,
            instead,
        )


def check_rows(base: str, tokenizer: PreTrainedTokenizerBase, rows: int, new_tokens: Collection[int] = ()) -> None:
    """Refuse a tokenizer with tokens that have no row in the model's embedding.

    A special token that neither the template nor the tokenizer writes is accepted, such as the image token of Gemma 3's
    1B text model.

    Args:
        base: Name of the model, for the message.
        tokenizer: Tokenizer of the model.
        rows: Number of rows of the model's embedding.
        new_tokens: Token ids that were added to the tokenizer, whose rows are yet to be added.

    Raises:
        ValueError: If a token has no row; names the first.
    """
    written = str(getattr(tokenizer, "chat_template", None) or "")
    needed = {str(one) for one in (tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token, tokenizer.unk_token)}
    added = tokenizer.added_tokens_decoder
    vocabulary = {index: token for token, index in tokenizer.get_vocab().items() if index not in new_tokens}
    without_row = {index: token for index, token in vocabulary.items() if index >= rows}
    for index, token in sorted(without_row.items()):
        unused = index in added and added[index].special and token not in needed and token not in written
        if not unused:
            raise ValueError(
                f"model.init_args.base: the tokenizer of {base} has {len(vocabulary)} tokens and its model {rows} rows "
                f"of embedding; the first token without one is {token!r} ({index}). Give the tokenizer that the model "
                "was trained with, or a model whose embedding was resized to it"
            )


def check_length(base: str, model: nn.Module, config: PreTrainedConfig, tokens: int, anchor_tokens: int = 0) -> None:
    """Refuse sequences that are too long for the positions of a base.

    A table of learned positions, as GPT-2's and OPT's, ends: a longer row ends in an IndexError. ``longrope`` and
    ``dynamic`` choose their frequencies by the longest row of a forward pass (transformers, ``modeling_rope_utils``):
    beyond their original length, the log-probs of a row would depend on the other rows of the batch.

    Args:
        base: Hub id or folder of the base, for the message.
        model: Model of the base.
        config: Text config of the base.
        tokens: Maximum number of tokens of prompt and completion together.
        anchor_tokens: Maximum number of tokens per text of the anchor; 0 without one.

    Raises:
        ValueError: If one of them exceeds that length; names the keys and the length.
    """
    limits = []
    for name, module in model.named_modules():
        if isinstance(module, nn.Embedding) and name.rpartition(".")[2] in LEARNED_POSITIONS:
            rows = module.num_embeddings - int(getattr(module, "offset", 0))
            limits.append((rows, f"{base} has no position for a later token"))
    parameters = getattr(config, "rope_parameters", None) or {}
    for rope in [parameters] if "rope_type" in parameters else parameters.values():  # one, or one per layer type
        kind = rope.get("rope_type") if isinstance(rope, dict) else None
        if kind in ("longrope", "dynamic"):
            limit = rope.get("original_max_position_embeddings") or config.max_position_embeddings
            changes = f"{base} (rope_type {kind}) changes the positions of all rows with the longest one of a batch"
            limits.append((limit, changes))
    for limit, what in limits:
        for longest, setting, remedy in (
            (tokens, f"max_prompt_tokens and max_new_tokens are {tokens:,} together", f"them to {limit:,} in all"),
            (anchor_tokens, f"anchor.max_tokens is {anchor_tokens:,}", f"it to {limit:,}"),
        ):
            if longest > limit:
                raise ValueError(f"model.init_args: {setting}, and beyond {limit:,} tokens {what}; lower {remedy}")
