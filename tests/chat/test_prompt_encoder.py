"""Token ids of texts do not change without a new format number; the room needs no torch."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from helpers.template_kinds import KINDS, tokenizer_of

from semalign_pl.chat.prompt_encoder import FORMAT, PromptEncoder
from semalign_pl.types import Prompt, Turn

MESSAGES = ["老师在学校看书。", "The answer is (here).", " Two\n\nlines ", "དགེ་རྒན་", "", "a<|im_end|>b</s>c", "书" * 90]
TALKS: list[list[Turn]] = [
    [Turn("system", "Be brief."), Turn("user", "问")],
    [Turn("user", "老师看书。"), Turn("assistant", "དགེ་རྒན་"), Turn("user", "学生呢？")],
]
LIMITS = (1000, 60)
GOLDEN = {
    "qwen2.5": "323c77f97a044dc0",
    "qwen3": "ecafac51bc30bb6d",
    "llama-2": "cc736437dcfc5e21",
    "llama-3": "7a9b3e9aa7418374",
    "gemma": "41d68f093011e9b0",
    "mistral": "1065e22546c62e2f",
    "phi-4": "d5cde1f5517c1814",
    "zephyr": "2afa170af4307f82",
    "vision": "6d20ffa5db152b2c",
    "granite": "7152aff2ac7413a0",
    "command": "c427033d1c0c4a5e",
    "none": "d094f3d8e92d79c5",
    "none, pieces of words": "f7fd19e463857e38",
}


def encode_everything(name: str) -> str:
    """Hash of the token ids of all texts by one kind of template, whole and cut."""
    kind = KINDS[name]
    tokenizer = tokenizer_of(kind)
    encoder = PromptEncoder(tokenizer, (tokenizer.convert_tokens_to_ids(kind.end),))
    prompts: list[Prompt] = [*MESSAGES, *TALKS]
    ids = [encoder.encode_prompts(prompts, limit) for limit in LIMITS]
    return hashlib.sha256(json.dumps([ids, encoder.encode_completions(MESSAGES)]).encode()).hexdigest()[:16]


@pytest.mark.parametrize("name", KINDS)
def test_token_ids_change_only_with_the_format_number(name: str) -> None:
    """Cached token ids are keyed by `FORMAT`, so other ids under the same number would be mixed with old ones."""
    assert (FORMAT, encode_everything(name)) == (1, GOLDEN[name]), "if this change is meant, raise FORMAT"


def test_the_format_number_is_part_of_the_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder = PromptEncoder(tokenizer_of(KINDS["qwen3"]), (2,))
    before = encoder.signature()
    assert (
        PromptEncoder(encoder.tokenizer, (2,)).signature()
        == before
        != PromptEncoder(encoder.tokenizer, (1,)).signature()
    )
    monkeypatch.setattr("semalign_pl.chat.prompt_encoder.FORMAT", FORMAT + 1)
    assert encoder.signature() != before


def test_no_torch_is_imported() -> None:
    code = "import sys, semalign_pl.chat.prompt_encoder; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
