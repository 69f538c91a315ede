"""Random model with a tokenizer of one token per word, so that prompts and completions have the given lengths."""

from __future__ import annotations

import random
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


def texts(count: int, words: int, seed: int) -> list[str]:
    """Prompts of the given number of tokens each."""
    draw = random.Random(seed)
    return [" ".join(f"w{draw.randrange(3, 30000)}" for _ in range(words)) for _ in range(count)]


def reward(text: str) -> float:
    """Reward that differs between completions and takes no time."""
    return sum(map(ord, text)) % 97 / 97
