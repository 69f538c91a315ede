"""Conversations in the shapes of public data, written from short texts."""

from __future__ import annotations

from typing import Any


def openai(*turns: str, **keys: Any) -> list[dict[str, Any]]:
    """Turns in OpenAI's form, from texts with ``s:``, ``u:``, ``a:`` or ``t:`` before them; keys go to the last."""
    roles = {"s": "system", "u": "user", "a": "assistant", "t": "tool"}
    made: list[dict[str, Any]] = [{"role": roles[turn[0]], "content": turn[2:]} for turn in turns]
    made[-1] |= keys
    return made


def sharegpt(*turns: str) -> list[dict[str, str]]:
    roles = {"system": "system", "user": "human", "assistant": "gpt", "tool": "observation"}
    return [{"from": roles[turn["role"]], "value": turn["content"]} for turn in openai(*turns)]
