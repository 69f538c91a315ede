"""New tokens for frequent syllables of a language: found in a corpus, added to tokenizer and base."""

from __future__ import annotations

import copy
import hashlib
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from os.path import commonprefix
from pathlib import Path
from typing import TYPE_CHECKING

import regex
import torch
from torch import nn

from semalign_pl.data.reading.sources import read
from semalign_pl.languages import Language, get_language
from semalign_pl.messages.error_text import first_line
from semalign_pl.policy.settings import VocabularySettings

if TYPE_CHECKING:
    from transformers import AddedToken, PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
_LETTER = regex.compile(r"[\p{L}\p{M}\p{N}]")


def find_tokens(settings: VocabularySettings, tokenizer: PreTrainedTokenizerBase) -> list[AddedToken]:
    """Find the most frequent units of a corpus that the tokenizer splits into several pieces.

    A unit includes the separator that follows it (a syllable and its tsheg would be two tokens otherwise). A unit
    without a separator, as before a shad, becomes a token under two conditions. It matches only between word
    boundaries, or it would match the beginning of longer words. And the unit with its separator is not one token
    already, or the new token would split that one in two. Signs of the script itself, such as the shad, are units too;
    signs that scripts share (digits, commas) are not.

    Args:
        settings: Settings of the new tokens.
        tokenizer: Tokenizer of the base.

    Returns:
        ``AddedToken``, sorted by descending frequency, then by code point; only those that survive encoding and
        decoding.

    Raises:
        ValueError: If the corpus cannot be read, or the tokenizer's decoder cannot mix new tokens with its own.
    """
    from lightning.pytorch.utilities import rank_zero_info
    from transformers import AddedToken

    language = get_language(settings.language)
    try:
        rows = read(settings.corpus, {"text": settings.column})
    except ValueError as error:
        message = re.sub(r"data\.init_args\.columns: \{text: (.*)\}", r"column: \1", str(error))
        raise ValueError(f"model.init_args.vocabulary: {message}") from error
    counts, apart = count_units((row["text"] for row in rows.values()), language)
    frequent = {form for form, count in counts.items() if count >= settings.min_count}
    separators = {form[-1] for form in counts if not language.segment(form[-1])}
    pieces = _pieces(tokenizer, sorted(frequent | {form + s for form in frequent for s in separators}))
    split = [form for form in frequent if len(pieces[form]) > 1]
    split = [form for form in split if form[-1] in separators or all(len(pieces[form + s]) > 1 for s in separators)]
    tokens = [
        AddedToken(form, single_word=apart and _LETTER.fullmatch(form[-1]) is not None, normalized=True)
        for form in sorted(split, key=lambda form: (-counts[form], form))
    ]
    trial = copy.deepcopy(tokenizer)
    trial.add_tokens(tokens)
    kept = [t for t in tokens if trial.decode(trial.encode(t.content, add_special_tokens=False)) == t.content]
    if not kept:
        log.warning("%s: every unit of %s is one token already; none is added", settings.corpus, language.name)
    kept = kept[: settings.tokens]
    if changed := sum(language.normalise(token.content) != token.content for token in kept):
        log.warning(
            "%s: %.1f %% of the new tokens are not in the normal form of %s, so training rows do not contain them if "
            "data.init_args.prepare normalises; give vocabulary.corpus in normal form, or set prepare.normalise: false",
            settings.corpus,
            100 * changed / len(kept),
            language.name,
        )
    check_decoding(tokenizer, kept, (row["text"] for row in islice(rows.values(), 200)))
    covered = sum(counts[token.content] for token in kept) / max(1, counts.total())
    rank_zero_info(
        "%s: %d new tokens cover %.1f %% of its units of %s", settings.corpus, len(kept), 100 * covered, language.name
    )
    return kept


def check_decoding(tokenizer: PreTrainedTokenizerBase, tokens: list[AddedToken], texts: Iterable[str]) -> None:
    """Check that texts come back from a tokenizer with new tokens as they do without them.

    A decoder that joins all tokens before it turns their characters into bytes leaves every byte token beside a new
    token as it is: ``à½¦`` for ས. transformers 5.17 reads such a tokenizer out of a GGUF file.

    Args:
        tokenizer: Tokenizer of the base.
        tokens: New tokens.
        texts: Texts to encode and decode.

    Raises:
        ValueError: If a text comes back otherwise; shows both readings from where they differ.
    """
    extended = copy.deepcopy(tokenizer)
    extended.add_tokens(tokens)
    for text in texts:
        before, after = (str(one.decode(one.encode(text, add_special_tokens=False))) for one in (tokenizer, extended))
        if after != before:
            start = len(commonprefix([before, after]))
            shown, wrong = before[start : start + 40], after[start : start + 40]
            raise ValueError(
                f"model.init_args.vocabulary: with new tokens, the tokenizer of the base reads {shown!r} back as "
                f"{wrong!r}: its decoder cannot mix them with its own tokens; take a base with another tokenizer.json "
                "(one from a GGUF file: convert it anew), or leave vocabulary out"
            )


def count_units(texts: Iterable[str], language: Language) -> tuple[Counter[str], bool]:
    """Count the units of a language in texts.

    Args:
        texts: Texts to count in.
        language: Language of the units.

    Returns:
        Number of occurrences of each unit, which includes the sign after it if ``segment`` drops that sign; and true if
        most units are separated from the next one, by a separator, space or punctuation.
    """
    counts: Counter[str] = Counter()
    words, glued = 0, 0
    scripts = "".join(rf"\p{{Script={script}}}" for script in language.scripts)
    own = regex.compile(rf"[{scripts}\p{{Script=Inherited}}]+")
    for text in texts:
        text, at, last = unicodedata.normalize("NFC", text), 0, -1
        for unit in language.segment(text):
            start = text.find(unit, at)
            if start < 0:
                continue
            at = start + len(unit)
            if own.fullmatch(unit):
                counts[unit + _separator(text, at, language)] += 1
                if _LETTER.match(unit):
                    words, glued, last = words + 1, glued + (start == last), at
    return counts, 2 * glued <= words


def _separator(text: str, at: int, language: Language) -> str:
    sign = text[at : at + 1]
    return "" if not sign or sign.isspace() or language.segment(sign) else sign


def _pieces(tokenizer: PreTrainedTokenizerBase, forms: list[str]) -> dict[str, list[int]]:
    encoded = tokenizer(forms, add_special_tokens=False)["input_ids"] if forms else []
    return dict(zip(forms, encoded, strict=True))


def saved_tokenizer(adapter: str) -> PreTrainedTokenizerBase | None:
    """Tokenizer of an adapter folder; ``None`` if the folder has none.

    Args:
        adapter: PEFT folder.

    Raises:
        ValueError: If the folder's tokenizer cannot be read.
    """
    from transformers import AutoTokenizer

    if not (Path(adapter) / "tokenizer_config.json").is_file():
        return None
    try:
        return AutoTokenizer.from_pretrained(adapter, trust_remote_code=False)
    except Exception as error:  # tokenizers raises bare exceptions on damaged files
        raise ValueError(
            f"model.init_args.adapter: the tokenizer in {adapter} cannot be read ({first_line(error)}); it was not "
            "written whole, so export or download the adapter again"
        ) from error


def added_tokens(adapter: str) -> dict[int, AddedToken]:
    """Tokens that were added to the tokenizer of an adapter folder, by token id; none if the folder has no tokenizer.

    Args:
        adapter: PEFT folder.

    Raises:
        ValueError: If the folder's tokenizer cannot be read.
    """
    saved = saved_tokenizer(adapter)
    return {} if saved is None else saved.added_tokens_decoder


def add_tokens(tokenizer: PreTrainedTokenizerBase, tokens: list[AddedToken]) -> dict[int, list[int]]:
    """Add tokens to a tokenizer.

    Args:
        tokenizer: Tokenizer of the base; changed in place.
        tokens: ``AddedToken``, to be added in this order.

    Returns:
        Token ids of the pieces of each new token, by its token id; the new token ids are consecutive.
    """
    if not tokens:
        return {}
    pieces = _pieces(tokenizer, [token.content for token in tokens])
    tokenizer.add_tokens(tokens)
    indices = tokenizer.get_vocab()
    ids = [indices[piece] for piece in pieces]
    assert ids == list(range(ids[0], ids[0] + len(tokens))), "a tokenizer numbers what is added one by one"
    return dict(zip(ids, pieces.values(), strict=True))


def add_rows(model: PreTrainedModel, new_tokens: Mapping[int, Sequence[int]]) -> list[int]:
    """Add rows of new tokens to a model; each new row is the mean of the rows of the token's pieces.

    Args:
        model: Frozen causal LM; embedding and head are resized if they have too few rows.
        new_tokens: Token ids of the pieces of each new token, by its token id, as `add_tokens` returns them.

    Returns:
        Token ids of the rows.

    Raises:
        ValueError: If the head has a bias: PEFT cannot load trained rows of such a head.
    """
    if not new_tokens:
        return []
    layers = embedding_and_head(model)
    if getattr(layers[1], "bias", None) is not None:
        raise ValueError("model.init_args.vocabulary: the head of this base has a bias, which is not built for")
    ids = list(new_tokens)
    if ids[-1] >= len(layers[0].get_parameter("weight")):
        model.resize_token_embeddings(ids[-1] + 1, mean_resizing=False)
        model.requires_grad_(False)
        layers = embedding_and_head(model)
    weights = {layer.get_parameter("weight") for layer in layers}  # one if they are tied
    with torch.no_grad():
        for weight in weights:
            means = torch.stack([weight[list(pieces)].float().mean(0) for pieces in new_tokens.values()])
            weight[ids[0] : ids[-1] + 1] = means.to(weight.dtype)
    return ids


def embedding_and_head(model: PreTrainedModel) -> tuple[nn.Module, nn.Module]:
    """Return the embedding and the head of a causal LM, which may share one weight.

    Args:
        model: Causal LM.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    assert isinstance(embedding, nn.Module) and isinstance(head, nn.Module), "a causal LM has both"
    return embedding, head


def trained_indices(model: PreTrainedModel, ids: list[int]) -> dict[str, list[int]] | None:
    """Value of PEFT's ``trainable_token_indices``: rows of the embedding, and of the head if it is not tied to it.

    Args:
        model: Causal LM with the rows.
        ids: Token ids of the rows.

    Returns:
        Token ids by module name; ``None`` without ids.
    """
    if not ids:
        return None
    one, other = embedding_and_head(model)
    tied = one.weight is other.weight  # of a layer that PEFT has wrapped, a tensor and not a parameter
    layers = [one] if tied else [one, other]
    return {name: ids for name, module in model.named_modules() if any(module is layer for layer in layers)}


def added_tokens_digest(tokenizer: PreTrainedTokenizerBase) -> str:
    """SHA-256 of the tokens that were added to a tokenizer's model, and their ids.

    Args:
        tokenizer: Tokenizer of the policy.
    """
    added = sorted((token.content, index) for index, token in tokenizer.added_tokens_decoder.items())
    return hashlib.sha256(repr(added).encode()).hexdigest()
