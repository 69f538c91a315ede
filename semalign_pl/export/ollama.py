"""Modelfile of Ollama for a chat format: the template in Go's syntax, and the stop tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from semalign_pl.chat.prompt_encoder import PromptEncoder, message_frame
from semalign_pl.types import Turn

if TYPE_CHECKING:
    from semalign_pl.chat.format import Chat

_SYSTEM, _USER = "SEMALIGNSYSTEM", "SEMALIGNUSER"


def make_modelfile(encoder: PromptEncoder) -> str:
    """Lines of a ``Modelfile`` after ``FROM``, so that Ollama writes a prompt as the training did.

    Ollama recognises only well-known chat templates of a GGUF file, so the template is written here, for a message with
    or without a system text. Decoding is greedy, as in a test.

    Args:
        encoder: Tokenizer and chat template of the model.
    """
    tokenizer = encoder.tokenizer
    stops = [str(tokenizer.convert_ids_to_tokens(index)) for index in encoder.eos_ids]
    lines = [f'TEMPLATE """{_template(encoder)}"""', "PARAMETER temperature 0"]
    return "\n".join([*lines, *(f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops)]) + "\n"


def _template(encoder: PromptEncoder) -> str:
    """Template in Go's syntax; only the message if the chat template does not keep it as it is."""
    frame = message_frame(encoder.chat)
    if frame is None:
        return "{{ .Prompt }}"
    bos = encoder.tokenizer.bos_token
    before, after = frame[0].removeprefix(str(bos or "")), frame[1]  # llama.cpp adds BOS itself
    system = _system_frame(encoder.chat, after)
    if system is None:
        return f"{before}{{{{ .Prompt }}}}{after}"
    opening, middle = system[0].removeprefix(str(bos or "")), system[1]
    return (
        f"{{{{ if .System }}}}{opening}{{{{ .System }}}}{middle}{{{{ else }}}}{before}{{{{ end }}}}"
        f"{{{{ .Prompt }}}}{after}"
    )


def _system_frame(chat: Chat, after: str) -> tuple[str, str] | None:
    """Text before a system text, and between it and the message; ``None`` if the template has no system turn."""
    if chat.template is None:
        return None
    try:
        text = chat.render([Turn("system", _SYSTEM), Turn("user", _USER)])
    except Exception:  # whatever the template raises for a system turn
        return None
    opening, found, rest = text.partition(_SYSTEM)
    middle, message, end = rest.partition(_USER)
    return (opening, middle) if found and message and end + chat.opening == after else None
