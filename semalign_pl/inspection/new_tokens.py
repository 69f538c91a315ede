"""Tokenisation of a recipe's corpora as in training, without weights: rows too long, prompts cut, new tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypedDict

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data import CorpusDataModule
from semalign_pl.modules import AlignModule
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.types import Example

_CHUNK = 1000


class NewTokens(TypedDict):
    """Effect of new tokens on a corpus; pairs are before and after they were added.

    Attributes:
        added: Number of new tokens.
        tokens_per_row: Tokens of source and reference, without chat template and end-of-turn token.
        tokens_per_character: The same tokens, divided by the characters (code points) of these texts.
    """

    added: int
    tokens_per_row: tuple[float, float]
    tokens_per_character: tuple[float, float]


def connect_encoder(module: object, data: CorpusDataModule) -> PromptEncoder | None:
    """Give a data module the encoder that training would give it.

    Args:
        module: Module of the recipe, which has loaded no weights.
        data: Data module of the recipe.

    Returns:
        The encoder; ``None`` if the module trains no policy.

    Raises:
        ValueError: If the encoder cannot be loaded.
    """
    if not isinstance(module, AlignModule):
        return None
    encoder = load_prompt_encoder(module.base, module.adapter, module.vocabulary, module.chat_template)
    module.connect(data, encoder)
    return encoder


def measure_new_tokens(examples: Iterable[Example], base: PromptEncoder, encoder: PromptEncoder) -> NewTokens:
    """Count the tokens of sources and references before and after new tokens were added.

    Args:
        examples: Examples of the corpora.
        base: Encoder of the base, without new tokens.
        encoder: Encoder with the new tokens.
    """
    rows = characters = before = after = 0
    for chunk in _chunks(examples):
        texts = [text for example in chunk for text in (example.source, example.reference)]
        rows += len(chunk)
        characters += sum(map(len, texts))
        before += _count_tokens(base, texts)
        after += _count_tokens(encoder, texts)
    return {
        "added": len(encoder.new_tokens),
        "tokens_per_row": (before / max(1, rows), after / max(1, rows)),
        "tokens_per_character": (before / max(1, characters), after / max(1, characters)),
    }


def _count_tokens(encoder: PromptEncoder, texts: list[str]) -> int:
    return sum(len(ids) - 1 for ids in encoder.encode_completions(texts))  # without the end-of-turn token


def _chunks(examples: Iterable[Example]) -> Iterator[list[Example]]:
    examples = iter(examples)
    while chunk := list(islice(examples, _CHUNK)):
        yield chunk
