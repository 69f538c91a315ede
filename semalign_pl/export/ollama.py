"""Modelfile of Ollama for a chat format: the template in Go's syntax, and the stop tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from semalign_pl.chat.find_format import text_start
from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.types import Turn

if TYPE_CHECKING:
    from semalign_pl.chat.format import Chat

_SYSTEM, _USER = "SEMALIGNSYSTEM", "SEMALIGNUSER"


def make_modelfile(encoder: PromptEncoder, system: str | None = None) -> str:
    """Lines of a ``Modelfile`` after ``FROM``, so that Ollama writes a prompt as the training did.

    Ollama recognises only well-known chat templates of a GGUF file, so the template is written here, for a message with
    or without a system text. Decoding is greedy, as in a test.

    Args:
        encoder: Tokenizer and chat template of the model.
        system: System text of the run's prompts; ``None`` if the template writes its own, or none.

    Raises:
        ValueError: If a Modelfile cannot hold the system text.
    """
    if '"""' in (system or ""):
        raise ValueError(
            'data.init_args.task.init_args.system: """ ends a text in a Modelfile; leave --gguf out, and give the '
            "system text to the server"
        )
    tokenizer = encoder.tokenizer
    template, takes_system = _template(encoder, system)
    lines = [f'TEMPLATE """{template}"""', *([f'SYSTEM """{system}"""'] if takes_system else [])]
    stops = [str(tokenizer.convert_ids_to_tokens(index)) for index in encoder.eos_ids]
    stop = [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    greedy = ["PARAMETER temperature 0", "PARAMETER repeat_penalty 1"]  # Ollama's own penalty is 1.1
    return "\n".join([*lines, *greedy, *stop]) + "\n"


def _template(encoder: PromptEncoder, system: str | None) -> tuple[str, bool]:
    """Template in Go's syntax, and true if it takes the system text of a ``SYSTEM`` line.

    Else the system text is part of the template: one that is empty, which Ollama takes for none, and one that the chat
    template writes into the message. The template is only the message if the chat template changes its words. Spaces
    around a message, which some templates trim, are kept.
    """

    def split(turns: list[Turn]) -> tuple[str, str] | None:
        before, found, after = encoder.write_prompt([*turns, Turn("user", _USER)]).partition(_USER)
        return (before, after) if found else None

    frame = split([])
    if frame is None:
        return "{{ .Prompt }}", False
    # llama.cpp adds a BOS that the tokenizer adds; another one, such as SmolLM2's, is part of the template alone.
    adds_bos = text_start(encoder.tokenizer) == (encoder.tokenizer.bos_token_id,)
    bos = str(encoder.tokenizer.bos_token) if adds_bos else ""
    apart = _system_frame(encoder.chat, frame[1])
    takes_system = bool(system) and apart is not None and not str(system).endswith('"')
    if system is not None and not takes_system:
        frame = split([Turn("system", system)]) or frame
    before, after = frame[0].removeprefix(bos), frame[1]
    if apart is None:
        return f"{_escape(before)}{{{{ .Prompt }}}}{_escape(after)}", False
    opening, middle = apart[0].removeprefix(bos), apart[1]
    return (
        f"{{{{ if .System }}}}{_escape(opening)}{{{{ .System }}}}{_escape(middle)}{{{{ else }}}}{_escape(before)}"
        f"{{{{ end }}}}{{{{ .Prompt }}}}{_escape(after)}",
        takes_system,
    )


def _escape(text: str) -> str:
    """Text that Go's template writes as it is."""
    return text.replace("{{", '{{ "{{" }}')


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
