"""A language's frequent syllables as tokens of their own: found in a corpus, added to tokenizer and base."""

from __future__ import annotations

import copy
import hashlib
import logging
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import regex
import torch

from semalign_pl.data.sources import read
from semalign_pl.languages import LanguageProfile, get_language
from semalign_pl.policy.causal_lm import first_line

log = logging.getLogger(__name__)
_LETTER = regex.compile(r"[\p{L}\p{M}\p{N}]")


@dataclass(frozen=True)
class VocabularySettings:
    """New tokens for a language that the base's tokenizer cuts into bytes.

    Their rows of the embedding (and of the head) start as the mean of their pieces' rows, are trained next to LoRA, and
    are saved with the adapter, tokenizer included. Text without any of the new tokens is tokenised as before; in a
    script that other languages share (Latin, Cyrillic), their text may hold some.

    Attributes:
        language: Code of the language; its profile says what a unit is.
        corpus: Text of the language, as for ``data.init_args.train``.
        column: The corpus' column with the text.
        tokens: At most so many, the most frequent ones.
        min_count: A token stands at least so often in the corpus.
    """

    language: str
    corpus: str
    column: str
    tokens: int = 1000
    min_count: int = 5

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            ValueError: Naming the option.
        """
        for name in ("tokens", "min_count"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"model.init_args.vocabulary.{name}: {getattr(self, name)} is not a positive whole number"
                )


def find_tokens(settings: VocabularySettings, tokenizer: Any) -> list[Any]:
    """The corpus' most frequent units that the tokenizer cuts into several pieces, as tokens.

    A unit is taken together with the separator behind it (a syllable with its tsheg: alone they would be two tokens).
    Without one, as before a shad, it is a token only between word boundaries, or it would match the head of longer
    words, and only if the unit with its separator is not one token already, which it would break in two. The script's
    own signs, such as the shad, are units too; what scripts share (digits, commas) is not.

    Args:
        settings: What is wanted.
        tokenizer: The base's.

    Returns:
        ``AddedToken`` by falling frequency, then by code point; none that does not survive encoding and decoding.

    Raises:
        ValueError: If the corpus cannot be read.
    """
    from tokenizers import AddedToken

    profile = get_language(settings.language)
    try:
        rows = read(settings.corpus, {"text": settings.column})
    except ValueError as error:
        said = re.sub(r"data\.init_args\.columns: \{text: (.*)\}", r"column: \1", str(error))
        raise ValueError(f"model.init_args.vocabulary: {said}") from error
    counts, apart = count_units((row["text"] for row in rows.values()), profile)
    known = {form for form, count in counts.items() if count >= settings.min_count}
    separators = {form[-1] for form in counts if not profile.segment(form[-1])}
    pieces = _pieces(tokenizer, sorted(known | {form + s for form in known for s in separators}))
    split = [form for form in known if len(pieces[form]) > 1]
    split = [form for form in split if form[-1] in separators or all(len(pieces[form + s]) > 1 for s in separators)]
    tokens = [
        AddedToken(form, single_word=apart and _LETTER.fullmatch(form[-1]) is not None, normalized=True)
        for form in sorted(split, key=lambda form: (-counts[form], form))
    ]
    trial = copy.deepcopy(tokenizer)
    trial.add_tokens(tokens)
    kept = [t for t in tokens if trial.decode(trial.encode(t.content, add_special_tokens=False)) == t.content]
    if not kept:
        log.warning("%s: every unit of %s is one token already; none is added", settings.corpus, profile.name)
    return kept[: settings.tokens]


def count_units(texts: Iterable[str], profile: LanguageProfile) -> tuple[Counter[str], bool]:
    """Units of a language as they stand in text.

    Args:
        texts: Any.
        profile: The language's.

    Returns:
        How often each unit stands there, with the sign behind it where ``segment`` drops one; and whether something
        stands between most units and the next, a separator, space or punctuation.
    """
    counts: Counter[str] = Counter()
    words, glued = 0, 0
    scripts = "".join(rf"\p{{Script={script}}}" for script in profile.scripts)
    own = regex.compile(rf"[{scripts}\p{{Script=Inherited}}]+")
    for text in texts:
        text, at, last = unicodedata.normalize("NFC", text), 0, -1
        for unit in profile.segment(text):
            start = text.find(unit, at)
            if start < 0:
                continue
            at = start + len(unit)
            if own.fullmatch(unit):
                counts[unit + _separator(text, at, profile)] += 1
                if _LETTER.match(unit):
                    words, glued, last = words + 1, glued + (start == last), at
    return counts, 2 * glued <= words


def _separator(text: str, at: int, profile: LanguageProfile) -> str:
    sign = text[at : at + 1]
    return "" if not sign or sign.isspace() or profile.segment(sign) else sign


def _pieces(tokenizer: Any, forms: list[str]) -> dict[str, list[int]]:
    encoded = tokenizer(forms, add_special_tokens=False)["input_ids"] if forms else []
    return dict(zip(forms, encoded, strict=True))


def saved_tokens(adapter: str, tokenizer: Any) -> list[Any]:
    """Tokens that an adapter folder's tokenizer has beyond the base's.

    Args:
        adapter: PEFT folder; without a tokenizer in it there are none.
        tokenizer: The base's.

    Raises:
        ValueError: If there is a tokenizer that cannot be read.
    """
    from transformers import AutoTokenizer

    if not (Path(adapter) / "tokenizer_config.json").is_file():
        return []
    try:
        there = AutoTokenizer.from_pretrained(adapter, trust_remote_code=False).added_tokens_decoder
    except Exception as error:  # tokenizers raises bare exceptions on damaged files
        raise ValueError(
            f"model.init_args.adapter: the tokenizer in {adapter} cannot be read ({first_line(error)}); it was not "
            "written whole, so export or download the adapter again"
        ) from error
    return [token for index, token in sorted(there.items()) if index >= len(tokenizer)]


def add_tokens(model: Any, tokenizer: Any, tokens: list[Any]) -> list[int]:
    """Give tokens to tokenizer and model; their rows are the mean of their pieces' rows.

    Args:
        model: A frozen causal LM; its embedding and head grow where they have no room.
        tokenizer: Its own.
        tokens: ``AddedToken``.

    Returns:
        Their ids, one behind the other.

    Raises:
        ValueError: If the head has a bias, with which PEFT cannot load trained rows.
    """
    if not tokens:
        return []
    layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    if getattr(layers[1], "bias", None) is not None:
        raise ValueError("model.init_args.vocabulary: the head of this base has a bias, which is not built for")
    pieces = _pieces(tokenizer, [token.content for token in tokens])
    tokenizer.add_tokens(tokens)
    ids = tokenizer.convert_tokens_to_ids(list(pieces))
    assert ids == list(range(ids[0], ids[0] + len(tokens))), "a tokenizer numbers what is added one by one"
    if ids[-1] >= len(layers[0].weight):
        model.resize_token_embeddings(ids[-1] + 1, mean_resizing=False)
        model.requires_grad_(False)
        layers = [model.get_input_embeddings(), model.get_output_embeddings()]
    weights = {id(layer.weight): layer.weight for layer in layers}
    with torch.no_grad():
        for weight in weights.values():
            means = torch.stack([weight[parts].float().mean(0) for parts in pieces.values()])
            weight[ids[0] : ids[-1] + 1] = means.to(weight.dtype)
    return ids


def trained_indices(model: Any, ids: list[int]) -> dict[str, list[int]] | None:
    """PEFT's ``trainable_token_indices``: the rows of the embedding, and of the head unless it is the embedding.

    Args:
        model: A causal LM.
        ids: Of the rows.
    """
    if not ids:
        return None
    one, other = model.get_input_embeddings(), model.get_output_embeddings()
    layers = [one] if one.weight is other.weight else [one, other]
    return {name: ids for name, module in model.named_modules() if any(module is layer for layer in layers)}


def digest(tokenizer: Any) -> str:
    """SHA-256 over the tokens added to a tokenizer's model and their ids.

    Args:
        tokenizer: Any.
    """
    added = sorted(tokenizer.get_added_vocab().items())
    return hashlib.sha256(repr(added).encode()).hexdigest()
