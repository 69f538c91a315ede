"""Choice of the corpus units that become tokens: signs, units and scripts without a separator, and units left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from semalign_pl.languages import get_language
from semalign_pl.policy.settings import VocabularySettings
from semalign_pl.policy.vocabulary import count_units, find_tokens


def byte_level(*merged: str) -> PreTrainedTokenizerFast:
    """Byte-level tokenizer in which each of the texts is one token."""
    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)  # type: ignore[assignment]
    raw.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    raw.train_from_iterator(merged, trainers.BpeTrainer(initial_alphabet=alphabet, show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=raw, clean_up_tokenization_spaces=False)


def chosen(text: str, language: str, folder: Path, tokenizer: Any = None, **more: int) -> dict[str, bool]:
    """Content of each token, and if it needs word boundaries."""
    (folder / "text.txt").write_text(text + "\n", encoding="utf-8")
    settings = VocabularySettings(language, str(folder / "text.txt"), "text", **{"min_count": 1, **more})
    return {token.content: token.single_word for token in find_tokens(settings, tokenizer or byte_level())}


def pieces(text: str, tokens: dict[str, bool]) -> list[str]:
    """The text as a tokenizer with these tokens splits it, with the rest in bytes."""
    from tokenizers import AddedToken

    tokenizer = byte_level()
    tokenizer.add_tokens([AddedToken(content, single_word=alone) for content, alone in tokens.items()])
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    return [token for token in tokenizer.convert_ids_to_tokens(ids) if token in tokens]


def test_a_syllable_takes_its_tsheg_along_and_a_shad_is_a_token(tmp_path: Path) -> None:
    tokens = chosen("བོད་ཡིག། བོད་སྐད།  2024 ABC, བོད", "bo", tmp_path)
    assert tokens == {"བོད་": False, "།": False, "ཡིག": True, "སྐད": True, "བོད": True}
    assert pieces("བོད་ཡིག།", tokens) == ["བོད་", "ཡིག", "།"]


def test_without_its_tsheg_a_syllable_is_no_head_of_a_longer_one(tmp_path: Path) -> None:
    tokens = chosen("ད། ད།", "bo", tmp_path)
    assert tokens == {"ད": True, "།": False}
    assert pieces("དངོས།", tokens) == ["།"] and pieces("ད།", tokens) == ["ད", "།"]


def test_what_is_one_token_stays_one(tmp_path: Path) -> None:
    """``བོད`` as a token would split the base's own token ``བོད་``."""
    known = byte_level("བོད་")
    assert len(known("བོད་")["input_ids"]) == 1
    assert chosen("བོད་བོད་ཡིག་བོད", "bo", tmp_path, known) == {"ཡིག་": False}


def test_most_frequent_first_and_then_by_code_point(tmp_path: Path) -> None:
    text = "ག་ག་ག་ཁ་ཁ་ཀ་ཀ་ང་"
    assert list(chosen(text, "bo", tmp_path)) == ["ག་", "ཀ་", "ཁ་", "ང་"]
    assert list(chosen(text, "bo", tmp_path, tokens=2)) == ["ག་", "ཀ་"]
    assert list(chosen(text, "bo", tmp_path, min_count=2)) == ["ག་", "ཀ་", "ཁ་"]


def test_a_script_without_separators_needs_no_boundaries(tmp_path: Path) -> None:
    counts, apart = count_units(["ครูอ่านหนังสือ"], get_language("th"))
    assert not apart and sum(counts.values()) == len(get_language("th").segment("ครูอ่านหนังสือ"))
    tokens = chosen("ครูอ่านหนังสือ", "th", tmp_path)
    assert set(tokens) == set(counts) and not any(tokens.values())
    assert "".join(pieces("หนังสือครู", tokens)) == "หนังสือครู"


def test_words_between_spaces_need_boundaries(tmp_path: Path) -> None:
    tokens = chosen("мектеп бар, мектеп жоқ", "mn", tmp_path)
    assert tokens["мектеп"] and "," not in tokens and all(tokens.values())
    assert pieces("мектептер", tokens) == []


@pytest.mark.parametrize("word", ["āé", "þorn"])
def test_no_token_that_would_not_come_back(word: str, tmp_path: Path) -> None:
    """Byte-level decoders take letters of their own alphabet (é, þ) for bytes."""
    known = byte_level()
    trial = byte_level()
    trial.add_tokens([word])
    assert trial.decode(trial(word)["input_ids"]) != word
    assert word not in chosen(f"{word} {word}", "en", tmp_path, known)
