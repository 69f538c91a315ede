"""Many texts to token ids at once: what ``Policy.encode_prompt`` does to one, some ten times as fast."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from semalign_pl.policy import turns
from semalign_pl.policy.turns import messages_of, plain, unrendered_roles
from semalign_pl.types import Prompt

_PROBES = ("\x00", " 问 \n", "<a> {b}")


def apply_template(tokenizer: Any, prompt: Prompt, tokenize: bool = True) -> Any:
    """A prompt in the chat template, up to where the answer begins; thinking off where it has the switch.

    Args:
        tokenizer: The base's.
        prompt: A user's message, or all turns of a conversation; without a template a message is followed by a line
            break, and turns are laid out by `plain`.
        tokenize: Give token ids, else text.
    """
    if tokenizer.chat_template is None:
        text = prompt + "\n" if isinstance(prompt, str) else plain(prompt, tokenizer.eos_token or "")
        return tokenizer(text)["input_ids"] if tokenize else text
    return tokenizer.apply_chat_template(
        [{"role": "user", "content": prompt}] if isinstance(prompt, str) else messages_of(prompt),
        add_generation_prompt=True,
        enable_thinking=False,
        tokenize=tokenize,
        **({"return_dict": False} if tokenize else {}),
    )


def refused_roles(tokenizer: Any) -> dict[str, str]:
    """The roles that the tokenizer's chat template does not render, and why.

    Args:
        tokenizer: The base's.
    """
    if tokenizer.chat_template is None:
        return {}
    return unrendered_roles(lambda turns: apply_template(tokenizer, turns, tokenize=False))


def frame(tokenizer: Any) -> tuple[str, str] | None:
    """What the template puts before and after a message; ``None`` where that depends on it (it is trimmed, say).

    Args:
        tokenizer: One with a chat template.
    """
    before, _, after = apply_template(tokenizer, _PROBES[0], tokenize=False).partition(_PROBES[0])
    same = all(apply_template(tokenizer, p, tokenize=False) == before + p + after for p in _PROBES)
    return (before, after) if same else None


def encode_prompts(tokenizer: Any, prompts: Sequence[Prompt], encode: Callable[[Prompt], list[int]]) -> list[list[int]]:
    """Token ids of each prompt in the chat template; the same as one by one.

    Args:
        tokenizer: The base's.
        prompts: Messages, or turns of conversations.
        encode: Token ids of one of them.
    """
    messages = [prompt for prompt in prompts if isinstance(prompt, str)]
    encoded = iter(_encode_messages(tokenizer, messages, encode))
    return [next(encoded) if isinstance(prompt, str) else encode(prompt) for prompt in prompts]


def _encode_messages(tokenizer: Any, messages: Sequence[str], encode: Callable[[Prompt], list[int]]) -> list[list[int]]:
    if not messages:
        return []
    if tokenizer.chat_template is None:
        return tokenizer([message + "\n" for message in messages], return_attention_mask=False)["input_ids"]
    around = frame(tokenizer)
    if around is None:
        return [encode(message) for message in messages]
    before, after = around
    return encode_texts(tokenizer, [before + message + after for message in messages])


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
    """A hash of a tokenizer, its added tokens and its template, and of the code that lays turns out.

    Args:
        tokenizer: The base's.
    """
    whole = tokenizer._tokenizer.to_str() if tokenizer.is_fast else json.dumps(tokenizer.get_vocab(), sort_keys=True)
    template = json.dumps(tokenizer.chat_template, sort_keys=True)
    code = "".join(Path(file).read_text(encoding="utf-8") for file in (__file__, turns.__file__))
    return hashlib.sha256(f"{type(tokenizer).__name__}\n{template}\n{whole}\n{code}".encode()).hexdigest()[:24]
