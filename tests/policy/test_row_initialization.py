"""Rows of new tokens that start from the source tokens they translate: found, mixed, trained, and not in the base."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers.logprob_oracle import score
from helpers.tiny import CPU

from semalign_pl.engine.micro_batches import Completions
from semalign_pl.policy.adapter import export_adapter
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.row_initialization import Meaning, align_new_tokens, mix_rows
from semalign_pl.policy.settings import LoraSettings, VocabularySettings
from semalign_pl.policy.token_rows import rows_of as frozen_and_rows

LORA = LoraSettings(4, 8, 0.0)
WORDS = {"ཁྲིམས་": "法", "ཚང་": "全", "སློབ་": "学", "ཕྲུ་": "童"}


@pytest.fixture
def settings(tmp_path: Path) -> VocabularySettings:
    """A corpus in which each syllable goes with one Chinese character, in every other order."""
    pairs = [(a, b) for a in WORDS for b in WORDS if a != b] * 3
    rows = [{"bo": a + b, "zh": WORDS[b] + WORDS[a]} for a, b in pairs]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return VocabularySettings("bo", str(path), "bo", initialization="aligned", source_column="zh")


def rows_of(policy: Policy) -> torch.Tensor:
    (rows,) = (p.detach() for name, p in policy.named_parameters() if "trainable_tokens" in name)
    return rows


def test_rows_by_hand() -> None:
    """Aligned rows are the weighted means, shifted to the mean of their pieces' means; others differ by noise."""
    weight = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
    meanings = [Meaning([0, 1], [10, 11], [0.75, 0.25]), Meaning([2], [12], [1.0]), Meaning([3, 4]), Meaning([3, 4])]
    rows = mix_rows(weight, meanings)
    mixed = torch.stack([0.75 * weight[10] + 0.25 * weight[11], weight[12]])
    pieces = torch.stack([weight[:2].mean(0), weight[2]])
    torch.testing.assert_close(rows[:2], mixed - mixed.mean(0) + pieces.mean(0))
    assert not torch.allclose(rows[2], rows[3])
    assert torch.equal(mix_rows(weight, meanings), rows)  # the same in every process


def test_noise_has_the_covariance_of_the_rows() -> None:
    generator = torch.Generator().manual_seed(2)
    weight = torch.randn(400, 4, generator=generator) @ torch.randn(4, 4, generator=generator) + 5
    rows = mix_rows(weight, [Meaning([7])] * 1500)
    torch.testing.assert_close(rows.mean(0), weight[7], atol=0.3, rtol=0)
    wanted = weight.T.cov()
    assert (rows.T.cov() - wanted).norm() < 0.15 * wanted.norm()


def test_new_tokens_start_as_what_they_translate(base: str, settings: VocabularySettings, tmp_path: Path) -> None:
    policy = load_policy(base, "fp32", LORA, None, CPU, settings)
    plain = load_policy(base, "fp32", LORA, None, CPU, replace(settings, initialization="pieces", source_column=None))
    tokenizer, ids = policy.encoder.tokenizer, list(policy.encoder.new_tokens)
    assert sorted(tokenizer.convert_ids_to_tokens(ids)) == sorted(WORDS)
    weight = frozen_and_rows(plain.model.get_input_embeddings())[0].weight.detach()
    means = torch.stack([
        weight[tokenizer(WORDS[token], add_special_tokens=False).input_ids].mean(0)
        for token in tokenizer.convert_ids_to_tokens(ids)
    ])  # fmt: skip
    # Pairs of rows differ as the Chinese characters do: the alignment is certain up to what EM leaves.
    found = rows_of(policy) - rows_of(policy).mean(0)
    wanted = means - means.mean(0)
    assert torch.cosine_similarity(found, wanted).min() > 0.9
    assert torch.cosine_similarity(found, rows_of(plain) - rows_of(plain).mean(0)).max() < 0.9
    # The base is the same with either start.
    text = Completions([policy.encoder.encode_prompt("法学", 99)], [policy.encoder.encode_completion("ཚང་ཕྲུ་")], [1.0])
    with torch.no_grad():
        bases = []
        for one in (policy, plain):
            with one.acting_as("base"):
                bases.append(score(one, text, 10**6)[0][0])
        assert torch.equal(*bases)
        export_adapter(policy, tmp_path / "adapter")
        again = load_policy(base, "fp32", None, str(tmp_path / "adapter"), CPU)
        assert torch.equal(score(again, text, 10**6)[0][0], score(policy, text, 10**6)[0][0])
        assert not torch.equal(score(plain, text, 10**6)[0][0], score(policy, text, 10**6)[0][0])


def test_rows_that_are_not_translated_give_no_meaning(base: str, settings: VocabularySettings) -> None:
    """A new token that explains only itself, as in a corpus with untranslated rows, starts from its pieces."""
    copies = [json.dumps({"bo": word, "zh": word}, ensure_ascii=False) + "\n" for word in WORDS] * 9
    Path(settings.corpus).write_text("".join(copies), encoding="utf-8")
    encoder = load_prompt_encoder(base, None, settings)
    meanings = align_new_tokens(settings, encoder.tokenizer, encoder.new_tokens)
    assert meanings.keys() == encoder.new_tokens.keys() != set()
    assert not any(meaning.sources for meaning in meanings.values())


@pytest.mark.parametrize(
    ("change", "lora", "message"),
    [
        ({"source_column": None}, LORA, r"vocabulary\.initialization: aligned needs the column .*source_column"),
        ({"initialization": "pieces"}, LORA, r"vocabulary\.source_column: 'zh' is of no use without .*aligned"),
        ({"source_column": "bo"}, LORA, r"vocabulary\.source_column: 'bo' is the column of the new tokens themselves"),
        ({"source_column": "cn"}, LORA, r"vocabulary\.source_column: .*no column 'cn'"),
        ({}, LoraSettings(variant="full"), r"vocabulary\.initialization: aligned .*lora\.variant: full"),
    ],
)
def test_mistakes(base: str, settings: VocabularySettings, change: dict, lora: LoraSettings, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_policy(base, "fp32", lora, None, CPU, replace(settings, **change))
