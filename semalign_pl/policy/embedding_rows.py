"""Rows of the embedding: check that every token has one, and add those of an adapter."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import torch


def grow_to_saved_rows(model: Any, state: Mapping[str, torch.Tensor]) -> None:
    """Resize a model's embedding and head to those that an adapter trained as whole modules, for example padded ones.

    New rows of the base are the mean of the others; the policy uses the adapter's rows instead.

    Args:
        model: Frozen causal LM; changed in place.
        state: Weights of the adapter, by PEFT's names.
    """
    layers = {id(model.get_input_embeddings()), id(model.get_output_embeddings())}
    names = [f"base_model.model.{name}.weight" for name, module in model.named_modules() if id(module) in layers]
    had = len(model.get_input_embeddings().weight)
    rows = max((len(state[name]) for name in names if name in state), default=0)
    if rows > had:
        model.resize_token_embeddings(rows, mean_resizing=False)
        model.requires_grad_(False)
        for layer in (model.get_input_embeddings(), model.get_output_embeddings()):
            layer.weight.data[had:] = layer.weight.data[:had].float().mean(0).to(layer.weight.dtype)


def check_rows(base: str, tokenizer: Any, rows: int, new_tokens: Collection[int] = ()) -> None:
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
    needed = {tokenizer.eos_token, tokenizer.bos_token, tokenizer.pad_token, tokenizer.unk_token}
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
