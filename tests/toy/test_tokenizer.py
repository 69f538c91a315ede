import random

import pytest
from transformers import AutoTokenizer

from semalign_pl.toy import generator, mixture, tokenizer

TEXTS = [
    "",
    " ",
    "\n\n \t x  y",
    "Hello wörld, it's 2026! \r\n",
    "བོད་ཀྱི་རིག་གནས། ༄༅། །ཨོཾ་མ་ཎི་པདྨེ་ཧཱུྃ། ༡༢༣ ཀྲུང་གོ",
    "汉字𠀀龘，标点。",
    "👩‍👩‍👧 😀 e\u0301 \ufeff \x00 \u202e 한국어 ไทย",
]


@pytest.mark.parametrize("text", TEXTS)
def test_any_text_survives(trained, text: str) -> None:
    assert trained.decode(trained(text).input_ids) == text


def test_random_unicode_survives(trained) -> None:
    rng = random.Random(0)
    for _ in range(200):
        points = (rng.randrange(0x110000) for _ in range(20))
        text = "".join(chr(p) for p in points if not 0xD800 <= p < 0xE000)
        assert trained.decode(trained(text).input_ids) == text


def test_one_token_a_character_and_a_syllable(trained) -> None:
    assert len(trained) <= 3000
    for pair in generator.pairs(0, "test", 100):
        assert [trained.decode([i]) for i in trained(pair["zh"]).input_ids] == list(pair["zh"])
        assert len(trained(pair["bo"]).input_ids) == pair["bo"].count("་") + 2


def test_training_is_deterministic(trained) -> None:
    assert tokenizer.train(seed=0).backend_tokenizer.to_str() == trained.backend_tokenizer.to_str()


def test_chat_as_trained_is_chat_as_asked(trained, tmp_path) -> None:
    trained.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert (loaded.eos_token, loaded.pad_token) == ("<|im_end|>", "<|endoftext|>")
    chat = [{"role": "user", "content": "你好\n问题"}, {"role": "assistant", "content": "扎西"}]
    text = loaded.apply_chat_template(chat, tokenize=False)
    asked = loaded.apply_chat_template(chat[:1], tokenize=False, add_generation_prompt=True)
    assert text.startswith(asked)
    sequence = mixture.encode(trained, [("你好\n问题", "扎西")])
    assert sequence.ids == loaded(text).input_ids
    assert loaded.decode([i for i, a in zip(sequence.ids, sequence.answer, strict=True) if a]) == "扎西<|im_end|>"
