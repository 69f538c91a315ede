"""Models for worlds with styles: a base model that has met all styles, and an encoder that is blind to them."""

from __future__ import annotations

import random
from typing import cast

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3ForCausalLM

from semalign_pl.toy import encoder, generator, grammar, style, tokenizer
from semalign_pl.toy.encoder import Text
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.write import WEIGHTS

SENTENCES = 10_000


def style_tokenizer(seed: int) -> PreTrainedTokenizerFast:
    """Create the shipped tokenizer with a token for each syllable of sentences of all styles.

    Args:
        seed: Seed of the sentences, of the training folds.
    """
    shipped = cast(PreTrainedTokenizerFast, AutoTokenizer.from_pretrained(WEIGHTS / "base", trust_remote_code=False))
    rng = random.Random(f"style-tokenizer-{seed}")
    drawn = (generator.draw(rng, generator.SPLITS["train"]) for _ in range(SENTENCES))
    return tokenizer.add_syllables(shipped, [style.tibetan(meaning, style.draw(rng)) for meaning in drawn])


@torch.no_grad()
def add_tokens(model: Qwen3ForCausalLM, words: PreTrainedTokenizerFast) -> int:
    """Give new tokens the mean embedding of the tokens that the shipped tokenizer splits them into, in place.

    Args:
        model: Shipped base model, with tied embeddings and unused rows at the end.
        words: Tokenizer of `style_tokenizer`.

    Returns:
        Number of new tokens.

    Raises:
        ValueError: If the model has too few unused rows.
    """
    shipped = AutoTokenizer.from_pretrained(WEIGHTS / "base", trust_remote_code=False)
    rows = cast(Tensor, model.get_input_embeddings().weight)
    if len(words) > len(rows):
        raise ValueError(f"styles.tsv: {len(words)} tokens are more than the model's {len(rows)}; take fewer syllables")
    for new in range(len(shipped), len(words)):
        pieces = shipped(words.decode([new]), add_special_tokens=False).input_ids
        rows[new] = rows[pieces].mean(0)
    return len(words) - len(shipped)


def _tibetan_group(rng: random.Random) -> list[Text]:
    """Tibetan sentence, two other wordings, two sentences with wrong slots, and two corrupted versions."""
    meaning = generator.draw(rng, generator.SPLITS["train"])
    similar = generator.neighbour(rng, meaning)
    far = generator.neighbour(rng, generator.neighbour(rng, similar))

    def write(one: Meaning) -> str:
        return style.tibetan(one, style.draw(rng))

    loose = Text(write(meaning).rstrip("།") + rng.choice(["", "་", "། "]), meaning, 0.98)
    if rng.random() < 0.2:
        loose = Text(grammar.tibetan_headline(meaning), grammar.headline_meaning(meaning))
    texts = [Text(write(meaning), meaning), Text(write(meaning), meaning), loose]
    texts += [Text(write(one), one) for one in (similar, far)]
    return texts + [encoder.spoil(rng, write(meaning), grammar.chinese(meaning), meaning) for _ in range(2)]


def _chinese_group(rng: random.Random) -> list[Text]:
    """Chinese sentence, the same with the time after the subject, and five sentences with wrong slots."""
    meaning = generator.draw(rng, generator.SPLITS["train"])
    place = grammar.zh_place(meaning) if meaning.place else ""
    obj = grammar.zh_object(meaning) if meaning.object else ""
    late = grammar.zh_clause("", grammar.zh_subject(meaning) + meaning.time, place, meaning, obj) + "。"
    others = [generator.neighbour(rng, meaning)]
    for _ in range(4):
        others.append(generator.neighbour(rng, others[-1]))
    texts = [Text(grammar.chinese(one), one, chinese=True) for one in (meaning, meaning, *others)]
    texts[1] = Text(late, meaning, chinese=True)
    return texts


def groups(rng: random.Random, batch: int) -> list[list[Text]]:
    """Draw groups of texts of one language: the encoder never learns from a Chinese text beside a Tibetan one.

    Args:
        rng: Random numbers; two of three batches are Tibetan.
        batch: Number of groups.
    """
    make = _tibetan_group if rng.random() < 2 / 3 else _chinese_group
    return [make(rng) for _ in range(batch)]


def loss(vectors: Tensor, groups: list[list[Text]]) -> tuple[Tensor, Tensor]:
    """Squared error of the cosines, and InfoNCE between two wordings of each meaning.

    Args:
        vectors: Embeddings of all texts, group after group, ``(texts, dimensions)``.
        groups: Groups of texts, from `groups`.

    Returns:
        Mean squared error of the cosines against ``encoder.target``, and InfoNCE in nats.
    """
    width = len(groups[0])
    error, own = encoder.squared_errors(vectors, groups)
    # The other wording counts as much as all other texts of its group, because it must be very near.
    graded = error[own].mean() + error[~own].mean() + error[:, 1::width].diagonal().mean()
    matched = torch.arange(len(groups), device=vectors.device)
    return graded, F.cross_entropy(vectors[::width] @ vectors[1::width].T / 0.05, matched)
