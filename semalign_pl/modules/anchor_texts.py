"""Texts of the anchor: raw text, or conversations that the chat template writes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data.conversation import Conversation
from semalign_pl.data.reading.fields import Fault
from semalign_pl.files.text_lines import read_text_lines
from semalign_pl.types import Turn

AnchorText = str | tuple[Turn, ...]
"""A raw text, or the turns of a conversation that ends with the assistant's."""

_ANY_LENGTH = 2**31


def read_anchor(option: str, file: str) -> dict[str, AnchorText]:
    """Read the texts of an anchor.

    Each line of a ``.jsonl`` file is an object with ``text``, or with a conversation in one of the shapes that the task
    ``Conversation`` reads, such as ``messages``. Each line of another file is a text.

    Args:
        option: YAML key, for messages.
        file: Path of the file.

    Returns:
        Texts by their place, such as ``general.txt:17``.

    Raises:
        ValueError: If the file cannot be read; names the line and the remedy.
    """
    lines = read_text_lines(option, file)
    if Path(file).suffix != ".jsonl":
        return {place: line.strip() for place, line in lines.items()}
    return {place: _read(f"{option}: {place}", line) for place, line in lines.items()}


def messages(text: AnchorText) -> list[str]:
    """Raw text, or the messages of a conversation.

    Args:
        text: Text or conversation.
    """
    return [text] if isinstance(text, str) else [turn.content.strip() for turn in text]


def encode(encoder: PromptEncoder, text: AnchorText) -> list[int]:
    """Token ids of a text, as the tokenizer writes it, or of a conversation, as the chat template writes it.

    Args:
        encoder: Prompt encoder of the base.
        text: Text or conversation.
    """
    if isinstance(text, str):
        ids: list[int] = encoder.tokenizer(text)["input_ids"]
        return ids
    return [*encoder.encode_prompt(_prompt(text), _ANY_LENGTH), *encoder.encode_completion(text[-1].content)]


def _prompt(turns: Sequence[Turn]) -> str | Sequence[Turn]:
    return turns[0].content if len(turns) == 2 and turns[0].role == "user" else turns[:-1]


def _read(where: str, line: str) -> AnchorText:
    try:
        record: object = json.loads(line)
    except ValueError as error:
        raise ValueError(f"{where}: is not JSON ({error}); write one object per line, or name the file .txt") from error
    if isinstance(record, dict) and isinstance(text := record.get("text"), str) and text.strip():
        return text.strip()
    task = Conversation()
    try:
        if not isinstance(record, dict):
            raise Fault("no object")
        row = task.chat("train").row(record, task.columns_to_read("train", {}))
    except Fault as error:
        raise ValueError(
            f'{where}: {error}; write {{"text": …}} or {{"messages": [{{"role": "user", "content": …}}, …]}} per line'
        ) from error
    example = task.example(row, "")
    return (*(example.turns or (Turn("user", example.prompt),)), Turn("assistant", example.reference))
