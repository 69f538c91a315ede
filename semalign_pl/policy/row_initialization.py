"""Initial rows of new tokens from what they mean: means of the rows of source-language tokens that they translate."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.data.reading.sources import read
from semalign_pl.functional.word_alignment import Alignment, align_words
from semalign_pl.policy.settings import VocabularySettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedTokenizerBase

MAX_ROWS = 20_000
"""Maximum number of rows of the corpus that are aligned, evenly spaced."""
MIN_COUNT = 3.0
"""Minimum expected number of the base's source tokens that a new token explains; with fewer, alignment is chance."""
MIN_SHARE = 0.1
"""Minimum probability of a source token, as a share of that of the most probable one."""
_SEED, _DRAWS = 0, 64


@dataclass(frozen=True)
class Meaning:
    """Tokens of the base whose rows say what a new token means.

    Attributes:
        pieces: Token ids of its pieces.
        sources: Token ids of the source tokens that it translates; empty if it is not aligned.
        weights: Weights of the source tokens, which sum to 1.
    """

    pieces: Sequence[int]
    sources: Sequence[int] = ()
    weights: Sequence[float] = ()


def align_new_tokens(
    settings: VocabularySettings, tokenizer: PreTrainedTokenizerBase, new_tokens: Mapping[int, Sequence[int]]
) -> dict[int, Meaning]:
    """Find the source tokens that each new token translates, by IBM model 1 on the rows of the corpus.

    Args:
        settings: Settings of the new tokens, with a ``source_column``.
        tokenizer: Tokenizer with the new tokens.
        new_tokens: Token ids of the pieces of each new token, by its token id.

    Returns:
        Meaning of each new token, by its token id.

    Raises:
        ValueError: If the corpus lacks the column.
    """
    from lightning.pytorch.utilities import rank_zero_info

    columns = {"text": settings.column, "source": settings.source_column or ""}
    try:
        rows = list(read(settings.corpus, columns).values())
    except ValueError as error:
        message = re.sub(r"data\.init_args\.columns: \{source: (.*)\}", r"source_column: \1", str(error))
        raise ValueError(f"model.init_args.vocabulary.source_column: {message}") from error
    rows = rows[:: -(-len(rows) // MAX_ROWS)]
    source, target = (
        tokenizer([row[field] for row in rows], add_special_tokens=False)["input_ids"] for field in ("source", "text")
    )
    alignments, first = align_words(source, target), min(new_tokens)
    meanings = {token: _meaning(pieces, alignments.get(token), first) for token, pieces in new_tokens.items()}
    rank_zero_info(
        "model.init_args.vocabulary.initialization: %d of %d new tokens start from the tokens of column %r that they "
        "translate in %s rows of %s, the others from their pieces, with noise",
        sum(bool(meaning.sources) for meaning in meanings.values()),
        len(meanings),
        settings.source_column,
        f"{len(rows):,}",
        settings.corpus,
    )
    return meanings


def _meaning(pieces: Sequence[int], alignment: Alignment | None, first: int) -> Meaning:
    """Meaning of a new token; its most probable source tokens that the base has, if the evidence is enough."""
    if alignment is None:
        return Meaning(pieces)
    pairs = zip(alignment.sources, alignment.probabilities, strict=True)
    known = [(token, probability) for token, probability in pairs if token < first]
    if alignment.count * sum(probability for _, probability in known) < MIN_COUNT:  # as in rows left untranslated
        return Meaning(pieces)
    kept = [(token, probability) for token, probability in known if probability >= MIN_SHARE * known[0][1]]
    total = sum(probability for _, probability in kept)
    return Meaning(pieces, [token for token, _ in kept], [probability / total for _, probability in kept])


def initialize_rows(model: PeftModel, meanings: Mapping[int, Meaning]) -> None:
    """Set the trained rows of new tokens in embedding and head by what the tokens mean.

    The base keeps the mean of their pieces, so that it is the same in every stage.

    Args:
        model: PEFT model whose default adapter trains these rows.
        meanings: Meaning of each new token, by its token id, ascending.

    Raises:
        ValueError: If the adapter trains the whole embedding instead of rows.
    """
    from peft.tuners.trainable_tokens import TrainableTokensLayer

    layers: list[Any] = [layer for layer in model.modules() if isinstance(layer, TrainableTokensLayer)]
    if not layers:
        raise ValueError(
            "model.init_args.vocabulary.initialization: aligned sets rows of new tokens, but lora.variant: full trains "
            "the whole embedding; leave initialization out"
        )
    for layer in layers:
        assert list(layer.token_indices["default"]) == list(meanings), "one row per new token, in the same order"
        weight, rows = layer.get_base_layer().weight.detach(), layer.trainable_tokens_delta["default"]
        rows.data = mix_rows(weight[: min(meanings)].float(), list(meanings.values())).to(rows)


def mix_rows(weight: Float[Tensor, "vocabulary dim"], meanings: Sequence[Meaning]) -> Float[Tensor, "tokens dim"]:
    """Rows of new tokens: weighted means of source tokens' rows, or else means of pieces with noise.

    Aligned rows are shifted by one vector, so that their mean is that of the means of their pieces. So what the tokens
    of the language have in common, such as the contexts in which none of them is likely, is as the pieces have it, and
    only the differences between tokens come from the source language. Means of pieces are nearly equal, so the noise
    tells them apart; it has the covariance of the base's rows, as in Hewitt, "Initializing New Word Embeddings for
    Pretrained Language Models" (2021).

    Sources of the mixture: WECHSEL (arXiv 2112.06598) and FOCUS (arXiv 2305.14481), with an alignment of the user's own
    corpus in place of a dictionary or of shared tokens.

    Args:
        weight: Rows of the base, float32.
        meanings: Meaning of each new token.
    """
    pieces = torch.stack([weight[list(meaning.pieces)].mean(0) for meaning in meanings])
    aligned = torch.tensor([bool(meaning.sources) for meaning in meanings], device=weight.device)
    rows = pieces.clone()
    if bool(aligned.any()):
        found = [meaning for meaning in meanings if meaning.sources]
        mixed = torch.stack([torch.tensor(one.weights).to(weight) @ weight[list(one.sources)] for one in found])
        rows[aligned] = mixed - mixed.mean(0) + pieces[aligned].mean(0)
    generator, mean = torch.Generator().manual_seed(_SEED), weight.mean(0)
    for place in (~aligned).nonzero().flatten().tolist():
        # The sum of many random rows' deviations is nearly Gaussian, and has their covariance without decomposing it.
        drawn = torch.randint(len(weight), (_DRAWS,), generator=generator).to(weight.device)
        rows[place] += (weight[drawn] - mean).sum(0) / _DRAWS**0.5
    return rows
