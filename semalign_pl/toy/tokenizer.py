"""Byte-level BPE tokenizer that keeps Chinese characters and Tibetan syllables whole."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from semalign_pl.toy import generator, prompt
from semalign_pl.toy.lexicon import words

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
# Tibetan syllable with its tsheg | Han character | Latin word | digit | line break | blanks | any other character
PIECES = (
    r"[\x{0F40}-\x{0FBC}]+\x{0F0B}?|\p{Han}| ?[A-Za-z]+|\p{N}|\r?\n|[^\S\r\n]+"
    r"|[^\s\p{Han}\p{N}A-Za-z\x{0F40}-\x{0FBC}]"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def _texts(seed: int) -> list[str]:
    """Training texts: words of the toy world with and without a tsheg, prompts, and sentences of the training folds."""
    rng = random.Random(f"tokenizer-{seed}")
    categories = ("name", "person", "kin", "animal", "place", "noun", "verb", "time", "adjective", "number")
    found = [t for c in categories for w in words(c).values() for t in (w.zh, w.bo, w.bo + "་", w.past, w.past + "་")]
    found = found * 5 + [prompt.PROMPT, prompt.WRITE_TIBETAN, "system\nuser\nassistant\n谁？哪里？什么时候？"] * 50
    found += [generator.chinese_text(rng, generator.SPLITS["train"]) for _ in range(2000)]
    return found + [generator.tibetan_text(rng, generator.SPLITS["train"]) for _ in range(2000)]


def train(seed: int = 0, size: int = 3000) -> PreTrainedTokenizerFast:
    """Train the tokenizer on texts of the toy world. Encoding and decoding keep any Unicode text unchanged.

    Args:
        seed: Seed of the training texts.
        size: Size of the vocabulary.
    """
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.Sequence(  # type: ignore[assignment]
        [
            pre_tokenizers.Split(Regex(PIECES), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    bpe.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=3,
        special_tokens=[PAD, START, END],
        initial_alphabet=alphabet,
        show_progress=False,
    )
    bpe.train_from_iterator(_texts(seed), trainer)
    return _for_base(bpe)


def add_syllables(tokenizer: PreTrainedTokenizerFast, texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Create a tokenizer with a token for each Tibetan syllable of texts; other text keeps its tokens.

    The syllables are entries of the vocabulary without merges (``ignore_merges``). As added tokens, they would also
    match in the middle of longer syllables.

    Args:
        tokenizer: Tokenizer to extend; it is not changed.
        texts: Tibetan texts.
    """
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary, byte_level = state["model"]["vocab"], pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    state["model"]["ignore_merges"] = True
    for text in texts:
        for syllable in re.findall("[\u0f40-\u0fbc]+\u0f0b?", text):
            ((piece, _),) = byte_level.pre_tokenize_str(syllable)
            vocabulary.setdefault(piece, len(vocabulary))
    return _for_base(Tokenizer.from_str(json.dumps(state)))


def _for_base(inner: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=END,
        pad_token=PAD,
        padding_side="left",
        model_max_length=4096,
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
        model_input_names=["input_ids", "attention_mask"],
    )


def token_id(tokenizer: PreTrainedTokenizerFast, token: str) -> int:
    """Id of one token."""
    found = tokenizer.convert_tokens_to_ids(token)
    assert isinstance(found, int)
    return found


def for_encoder(tokenizer: PreTrainedTokenizerFast, max_tokens: int) -> PreTrainedTokenizerFast:
    """Create a tokenizer that ends every text with an end token, so that even an empty text has a token to pool.

    Args:
        tokenizer: Tokenizer with the vocabulary to use.
        max_tokens: Maximum number of tokens per text.
    """
    inner = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    end = token_id(tokenizer, END)
    inner.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, end)])  # type: ignore[assignment]
    return PreTrainedTokenizerFast(
        tokenizer_object=inner,
        eos_token=END,
        pad_token=PAD,
        model_max_length=max_tokens,
        clean_up_tokenization_spaces=False,
        model_input_names=["input_ids", "attention_mask"],
    )
