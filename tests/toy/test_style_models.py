"""Models for worlds with styles: their tokenizer, and training data without a translation pair."""

import json
import random
from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerFast, Qwen3ForCausalLM

from semalign_pl.toy import base, encoder, generator, prompt, style_models
from semalign_pl.toy.__main__ import main
from semalign_pl.toy.conditions import style_speech
from semalign_pl.toy.parser import parse
from semalign_pl.toy.style import draw, tibetan
from semalign_pl.toy.write import WEIGHTS

CPU = torch.device("cpu")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def words() -> PreTrainedTokenizerFast:
    return style_models.style_tokenizer(0)


def test_other_text_keeps_its_tokens(words, tmp_path) -> None:
    shipped = AutoTokenizer.from_pretrained(WEIGHTS / "base")
    words.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    texts = [text for row in generator.pairs(0, "test", 300) for text in row.values()]
    texts += [
        prompt.PROMPT,
        prompt.WRITE_TIBETAN,
        "",
        "Hello wörld, it's 2026! \r\n",
        "汉字𠀀龘。",
        "👩‍👩‍👧 é\x00 한국어 ไทย",
    ]
    texts += ["".join(random.Random(seed).choices("ཀཁགབསརལིེོུ་། a中", k=30)) for seed in range(200)]
    new = range(len(shipped), len(words))
    for text in texts:
        ids = loaded(text).input_ids
        assert loaded.decode(ids) == text and words(text).input_ids == ids
        assert ids == shipped(text).input_ids or set(ids) & set(new)
    assert not {i for text in texts[:604] for i in loaded(text).input_ids} & set(new)
    chat = [{"role": "user", "content": "你好"}]
    assert loaded.apply_chat_template(chat, tokenize=False) == shipped.apply_chat_template(chat, tokenize=False)


def test_every_syllable_of_every_style_is_a_token(words) -> None:
    rng = random.Random(1)
    for _ in range(500):
        text = tibetan(generator.draw(rng, generator.SPLITS["test"]), draw(rng))
        pieces = [words.decode([i]) for i in words(text).input_ids]
        assert pieces == text.replace("་", "་\n").replace("།", "\n།").split()


def test_the_shipped_base_takes_the_new_tokens(words) -> None:
    model = Qwen3ForCausalLM.from_pretrained(WEIGHTS / "base", dtype=torch.float32)
    after = cast(Tensor, model.get_input_embeddings().weight)
    before = after.detach().clone()
    added = style_models.add_tokens(model, words)
    first = len(words) - added
    pieces = AutoTokenizer.from_pretrained(WEIGHTS / "base")(words.decode([first])).input_ids
    assert added == 25 and len(pieces) > 1 and torch.equal(after[:first], before[:first])
    assert torch.allclose(after[first], before[pieces].mean(0))
    speech = style_speech("base-0", 0.0)
    losses = base.train(model, words, steps=2, device=CPU, seed=0, batch=2, follow=True, speech=speech)
    assert 0 < losses["train_text_nats"] < 8 and not torch.equal(after[:first], before[:first])


def test_the_encoder_never_sees_both_languages_beside_each_other(words) -> None:
    rng, languages = random.Random(0), set[bool]()
    for _ in range(20):
        batch = style_models.groups(rng, 4)
        (chinese,) = {text.chinese for texts in batch for text in texts}
        languages.add(chinese)
        for texts in batch:
            assert len(texts) == 7 and encoder.target(texts[0], texts[1]) == 1
            for text in () if chinese else texts[:2]:
                reading = parse(text.text)
                assert reading is not None and reading.meaning.key() == text.meaning.key()
    assert languages == {True, False}
    model = encoder.new_model(words, 0)
    losses = encoder.train(
        model, words, steps=3, device=CPU, seed=0, batch=4, draw=style_models.groups, objective=style_models.loss
    )
    assert 0 < losses["train_graded"] < 5 and 0 < losses["train_contrast_nats"] < 10


def test_the_shipped_weights_are_not_replaced(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--styles"]) == 2
    assert "--styles: these models are no substitute for the shipped ones; add --out FOLDER" in capsys.readouterr().err


def test_the_models_of_the_map_know_all_styles() -> None:
    record = json.loads((ROOT / "benchmarks" / "map_models" / "BUILD.json").read_text())
    base, encoder = record["base"], record["encoder"]
    assert base["exact_match"] >= 0.93
    assert max(base["nll_nats"].values()) - min(base["nll_nats"].values()) <= 0.2
    # Same meaning in two drawn styles, against the same text; the opposite of the plain style is the farthest.
    assert encoder["mean_cos_drawn_styles"] >= 0.98 and min(encoder["mean_cos_by_style"].values()) >= 0.96
    assert max(encoder["mean_cos_by_wrong_slots"].values()) <= 0.85 and encoder["mean_cos_unrelated"] <= 0.1
