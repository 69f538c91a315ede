"""Many texts to token ids at once: what ``Policy.encode_prompt`` does to one, some ten times as fast."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import Any

_PROBES = ("\x00", " 问 \n", "<a> {b}")


def apply_template(tokenizer: Any, prompt: str, tokenize: bool = True) -> Any:
    """A user's message in the chat template, up to where the answer begins; thinking off where it has the switch.

    Args:
        tokenizer: The base's.
        prompt: The message; without a template it is followed by a line break.
        tokenize: Give token ids, else text.
    """
    if tokenizer.chat_template is None:
        return tokenizer(prompt + "\n")["input_ids"] if tokenize else prompt + "\n"
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}],
        add_generation_prompt=True,
        enable_thinking=False,
        tokenize=tokenize,
        **({"return_dict": False} if tokenize else {}),
    )


def frame(tokenizer: Any) -> tuple[str, str] | None:
    """What the template puts before and after a message; ``None`` where that depends on it (it is trimmed, say).

    Args:
        tokenizer: One with a chat template.
    """
    before, _, after = apply_template(tokenizer, _PROBES[0], tokenize=False).partition(_PROBES[0])
    same = all(apply_template(tokenizer, p, tokenize=False) == before + p + after for p in _PROBES)
    return (before, after) if same else None


def encode_prompts(tokenizer: Any, prompts: Sequence[str]) -> list[list[int]]:
    """Token ids of each message in the chat template; the same as one by one.

    Args:
        tokenizer: The base's.
        prompts: Messages.
    """
    if not prompts:
        return []
    if tokenizer.chat_template is None:
        return tokenizer([prompt + "\n" for prompt in prompts], return_attention_mask=False)["input_ids"]
    around = frame(tokenizer)
    if around is None:
        return [apply_template(tokenizer, prompt) for prompt in prompts]
    before, after = around
    return encode_texts(tokenizer, [before + prompt + after for prompt in prompts])


def encode_texts(tokenizer: Any, texts: Sequence[str]) -> list[list[int]]:
    """Token ids of each text, no special tokens added.

    Args:
        tokenizer: The base's.
        texts: Any.
    """
    backend = tokenizer.backend_tokenizer if tokenizer.is_fast else None
    if backend is None or backend.truncation is not None or backend.padding is not None:
        return tokenizer(list(texts), add_special_tokens=False)["input_ids"] if texts else []
    return [row.ids for row in backend.encode_batch_fast(list(texts), add_special_tokens=False)]  # without offsets


def signature(tokenizer: Any) -> str:
    """A hash of a tokenizer, its added tokens and its template.

    Args:
        tokenizer: The base's.
    """
    whole = tokenizer._tokenizer.to_str() if tokenizer.is_fast else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = json.dumps(tokenizer.chat_template, sort_keys=True)
    return hashlib.sha256(f"{type(tokenizer).__name__}\n{template}\n{whole}".encode()).hexdigest()[:24]
