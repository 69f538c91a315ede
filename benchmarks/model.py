"""Models of the benchmarks: random ones with one token per word, or a real one; texts of exact numbers of tokens."""

from __future__ import annotations

import argparse
import contextlib
import random
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedModel

SMALL = {
    "hidden_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 64,
    "intermediate_size": 1536,
    "vocab_size": 32768,
}
"""About 42 M parameters, 17 M of them the tied embedding."""
LARGER = {**SMALL, "hidden_size": 640, "num_hidden_layers": 10, "intermediate_size": 1920, "head_dim": 80}
"""About 69 M parameters."""
WIDE = {**SMALL, "vocab_size": 151936}
"""The small model with Qwen3's vocabulary."""
QWEN3_4B = {
    "hidden_size": 2560,
    "num_hidden_layers": 36,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "intermediate_size": 9728,
    "vocab_size": 151936,
}
"""Widths of Qwen3-4B, from its config.json."""
QWEN3_1_7B = {
    **QWEN3_4B,
    "hidden_size": 2048,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "intermediate_size": 6144,
}
QWEN3_0_6B = {**QWEN3_1_7B, "hidden_size": 1024, "intermediate_size": 3072}
"""Widths of Qwen3-0.6B, from its config.json."""
SIZES = {
    "small": SMALL,
    "larger": LARGER,
    "wide": WIDE,
    "qwen3-0.6b": QWEN3_0_6B,
    "qwen3-1.7b": QWEN3_1_7B,
    "qwen3-4b": QWEN3_4B,
}


def make(folder: Path, size: str, dtype: str = "float32", device: str = "cpu") -> None:
    """Write model and tokenizer.

    Args:
        folder: Folder to write them to.
        size: Name of the size, one of ``SIZES``.
        dtype: Dtype of the weights on disk.
        device: Device that draws the weights; billions of them take minutes on a CPU.
    """
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    shape = SIZES[size]
    words = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, shape["vocab_size"])}
    raw = Tokenizer(models.WordLevel(words, unk_token="<unk>"))
    raw.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<eos>", pad_token="<pad>", unk_token="<unk>", padding_side="left"
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = Qwen3Config(
        **shape, max_position_embeddings=4096, tie_word_embeddings=True, eos_token_id=1, pad_token_id=0
    )
    before = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    try:
        with torch.device(device):
            model = Qwen3ForCausalLM(config)
    finally:
        torch.set_default_dtype(before)
    model.generation_config.eos_token_id = 1
    model.save_pretrained(folder)


def load_peer(folder: str, weights: str) -> PreTrainedModel:
    """Model as a user of TRL loads it for QLoRA, or in float32.

    Args:
        folder: Folder of the model.
        weights: ``nf4`` or ``fp32``.
    """
    import torch
    from transformers import AutoModelForCausalLM, BitsAndBytesConfig

    loading: dict[str, object] = {"dtype": torch.bfloat16 if weights != "fp32" else torch.float32}
    if weights == "nf4":
        loading["quantization_config"] = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16,
        )
    place = {"": 0} if torch.cuda.is_available() else None
    return AutoModelForCausalLM.from_pretrained(folder, device_map=place, **loading)


WORDS = tuple(f"w{i}" for i in range(3, 30000))
"""Words of the random models' tokenizer."""


def texts(count: int, words: int, seed: int, vocabulary: Sequence[str] = WORDS) -> list[str]:
    """Texts of the given number of words each."""
    draw = random.Random(seed)
    return [" ".join(draw.choice(vocabulary) for _ in range(words)) for _ in range(count)]


class Texts:
    """Prompts and completions of exact numbers of tokens, as the tokenizer of a model counts them.

    Args:
        folder: Folder of the model. Its chat template, if there is one, counts as a part of the prompt.

    Attributes:
        eos_id: Token id that ends a completion.
        template_tokens: Number of tokens that the chat template adds to a prompt.
    """

    def __init__(self, folder: str) -> None:
        from transformers import AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        self.eos_id, self._chat, self.template_tokens = tokenizer.eos_token_id, bool(tokenizer.chat_template), 0
        self._words: Sequence[str] = WORDS
        if self._chat:
            known = tokenizer.get_vocab()  # of a byte-level BPE, where "\u0120" is a space
            self._words = sorted(
                w for w in known if w.isascii() and w.islower() and w.isalpha() and f"\u0120{w}" in known
            )
            if not self._words:
                sys.exit(f"{folder}: its tokenizer has no English words of one token, which the benchmarks are made of")
            message = self.for_trl(self._words[0], "user")
            rendered = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)
            self.template_tokens = len(rendered["input_ids"]) - 1

    def prompts(self, count: int, tokens: int, seed: int) -> list[str]:
        """Messages whose prompts have the given number of tokens, those of the chat template included."""
        assert tokens > self.template_tokens, f"the chat template alone has {self.template_tokens} tokens"
        return texts(count, tokens - self.template_tokens, seed, self._words)

    def completions(self, count: int, tokens: int, seed: int) -> list[str]:
        """Completions of the given number of tokens, without the EOS."""
        return texts(count, tokens, seed, self._words)

    def for_trl(self, text: str, role: str) -> object:
        """A prompt or completion as a user of TRL gives it: a turn if the model has a chat template, else its text."""
        if self._chat:
            return [{"role": role, "content": text}]
        return f"{text} " if role == "user" else text  # TRL appends the completion


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--size`` and ``--model``, which exclude each other."""
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--size", default="small", choices=SIZES, help="size of a random model")
    which.add_argument("--model", help="folder of a real model, such as data/smollm2 (semalign data smollm2)")


@contextlib.contextmanager
def folder_of(options: argparse.Namespace) -> Iterator[tuple[str, str]]:
    """Folder of the model that the options name, and the ending of the name of its results."""
    if options.model:
        if not Path(options.model, "config.json").is_file():
            sys.exit(f"{options.model}: no model there; semalign data smollm2 makes data/smollm2")
        yield options.model, f"_{Path(options.model).resolve().name}"
        return
    with tempfile.TemporaryDirectory() as folder:
        make(Path(folder), options.size)
        yield folder, "" if options.size == "small" else f"_{options.size}"


def reward(completion: str | list[dict[str, str]]) -> float:
    """Reward that differs between completions and takes no time; of a text, or of TRL's list of one turn."""
    text = completion if isinstance(completion, str) else completion[0]["content"]
    return sum(map(ord, text)) % 97 / 97
