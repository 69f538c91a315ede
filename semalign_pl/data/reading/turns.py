"""Parsers of conversations in the shapes of public data, to checked turns.

Sources of the shapes: OpenAI's chat fine-tuning format (``messages`` of role and content, ``weight``, ``name``,
``tool_calls``, typed content), ShareGPT (``conversations`` of from and value, ``system`` as a column), TRL's dataset
formats (``prompt`` and ``completion`` as lists of messages), and Alpaca with LLaMA-Factory's ``history``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import cast

from semalign_pl.data.reading.fields import Fault, fault_of, is_blank
from semalign_pl.data.reading.formats import quote
from semalign_pl.types import Role, Turn

ROLES: dict[str, Role] = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "model", "bot"), "assistant"),
    **dict.fromkeys(("tool", "function", "observation"), "tool"),
}
"""Role in this package for each name of a role in public data."""

_AFTER: dict[Role | None, tuple[Role, ...]] = {
    None: ("system", "user"),
    "system": ("user",),
    "user": ("assistant",),
    "assistant": ("user", "tool"),
    "tool": ("tool", "assistant"),
}
_TRAINED = ("weight", "train", "loss")
_MEANING = (
    "name", "tool_calls", "function_call", "tool_call_id", "reasoning_content", "reasoning", "thinking", "refusal",
    "audio", "images", "prefix",
)  # fmt: skip


def turns_of(value: object, name: str) -> list[Turn]:
    """Parse the turns of a conversation; their order is not checked.

    Args:
        value: List of turns, each an object with role (or from) and content (or value). Also such a list as JSON text,
            as in CSV files, or an object of lists, which `datasets` makes of a sequence of objects.
        name: Name of the column, for messages.

    Raises:
        Fault: If the value is not a conversation, or a turn has a role, key or content that is not supported.
    """
    if isinstance(value, str):
        value = _parse_json(value, name)
    if isinstance(value, Mapping) and value and all(isinstance(column, list) for column in value.values()):
        lengths = {len(column) for column in value.values()}
        if len(lengths) == 1:
            value = [dict(zip(value, turn, strict=True)) for turn in zip(*value.values(), strict=True)]
    if not isinstance(value, list):
        raise Fault(f"{name!r} is no list of turns but {quote(value)} ({type(value).__name__}); {_WANTED}")
    return [_turn(turn, f"{name}.{place}", place == len(value) - 1) for place, turn in enumerate(value)]


_WANTED = 'write it as [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]'


def looks_like_turns(text: str) -> bool:
    """Return true if a text is a JSON list of objects, each with a role and a content.

    Args:
        text: Text of a column.
    """
    if not text.lstrip().startswith("["):
        return False
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return bool(value) and all(
        isinstance(turn, dict) and {"role", "from"} & turn.keys() and {"content", "value"} & turn.keys()
        for turn in value
    )


def _parse_json(text: str, name: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) < len(pairs):
            raise Fault(f"{name!r} has an object with a key twice; leave one out")
        return dict(pairs)

    try:
        return json.loads(text, object_pairs_hook=once)
    except Fault:
        raise
    except (ValueError, RecursionError):
        raise Fault(f"{name!r} is text that is not JSON: {quote(text)}; write it with json.dumps") from None


def _turn(turn: object, at: str, last: bool) -> Turn:
    if not isinstance(turn, Mapping):
        raise Fault(f"{at!r} is no turn but {quote(turn)} ({type(turn).__name__}); {_WANTED}")
    if {"role", "from"} <= turn.keys() and not (is_blank(turn["role"]) or is_blank(turn["from"])):
        raise Fault(f"{at!r} has both role and from; leave one out")
    role, content = (next((turn[key] for key in keys if turn.get(key) is not None), None) for keys in _KEYS)
    if not isinstance(role, str) or role.strip().lower() not in ROLES:
        raise Fault(f"{at!r} has the role {quote(role)}; the roles are {', '.join(ROLES)}; name one, or drop the row")
    _check_keys(turn, at, last)
    return Turn(ROLES[role.strip().lower()], check_text(_join_texts(content, at), f"{at} ({role})"))


_KEYS = (("role", "from"), ("content", "value"))


def _check_keys(turn: Mapping[str, object], at: str, last: bool) -> None:
    """Refuse keys whose meaning would be lost; metadata such as an id or a date is allowed."""
    for key in _MEANING:
        if not is_blank(turn.get(key)):
            raise Fault(
                f"{at!r} has {key} {quote(turn[key])}, which changes what the turn says and is not read; write it "
                "into the content, take it out, or drop the row"
            )
    for key in _TRAINED:
        value = turn.get(key)
        if value is None or value == 1 or (value == 0 and not last):
            continue
        raise Fault(
            f"{at!r} has {key} {quote(value)}, and of a conversation its last turn is trained, with weight 1, and no "
            f"other; take {key} out, end the conversation at the turn to train, or drop the row"
        )


def _join_texts(content: object, at: str) -> object:
    """Join the texts of typed content without a separator, as chat templates do."""
    if not isinstance(content, list):
        return content
    texts = []
    for item in content:
        kind = item.get("type") if isinstance(item, Mapping) else type(item).__name__
        if kind != "text" or not isinstance(item.get("text"), str):
            raise Fault(f"{at!r} has a part of type {quote(kind)}, and only text is read; drop the row")
        texts.append(item["text"])
    return "".join(texts)


def check_text(content: object, at: str) -> str:
    """Return the text of a turn if it is a good text.

    Args:
        content: Content of the turn.
        at: Path of the turn, for messages.

    Raises:
        Fault: If the content is empty, is not text, or has control characters.
    """
    if wrong := fault_of(content):
        raise Fault(f"{at!r} is {wrong}, take the turn out, or drop the row")
    assert isinstance(content, str), "fault_of names whatever else it is"
    return content


def exchanges_of(value: object, name: str) -> list[Turn]:
    """Parse the turns of Alpaca's ``history``: pairs of a user's message and its answer.

    Args:
        value: List of pairs, or such a list as JSON text.
        name: Name of the column, for messages.

    Raises:
        Fault: If the value is not a list of pairs.
    """
    if isinstance(value, str):
        value = _parse_json(value, name)
    pairs = value if isinstance(value, list) else [value]
    turns = []
    for place, pair in enumerate(pairs):
        at = f"{name}.{place}"
        if not isinstance(pair, list | tuple) or len(pair) != 2:
            raise Fault(f"{at!r} is no pair of message and answer but {quote(pair)}; write [[message, answer], …]")
        turns += [Turn("user", check_text(pair[0], f"{at}.0")), Turn("assistant", check_text(pair[1], f"{at}.1"))]
    return turns


def check_order(turns: Sequence[Turn]) -> None:
    """Refuse an order of turns that chat templates do not support.

    Args:
        turns: Turns of a conversation.

    Raises:
        Fault: If a turn may not follow the one before it; the message names the turn and the remedy.
    """
    previous: Role | None = None
    for place, turn in enumerate(turns, 1):
        if turn.role not in _AFTER[previous]:
            raise Fault(
                f"turn {place} is {_article(turn.role)} turn {_where(previous)}; {_remedy(previous, turn.role)}"
            )
        previous = turn.role


def _article(role: Role) -> str:
    return f"{'an' if role[0] in 'aeio' else 'a'} {role}"


def _where(previous: Role | None) -> str:
    return "at the start" if previous is None else f"after {_article(previous)} turn"


def _remedy(previous: Role | None, role: Role) -> str:
    if previous == role:
        return f"join the two {role} turns, take one out, or drop the row"
    if role == "system":
        return "a system turn can only be the first; move it there, or drop the row"
    if previous is None:
        return "a conversation starts with a user turn; take the turn out, or drop the row"
    allowed = " or ".join(map(_article, _AFTER[previous]))
    return f"after {_article(previous)} turn comes {allowed} turn; mend or drop the row"


def turns_to_json(turns: Sequence[Turn]) -> str:
    """JSON text of turns, for `turns_from_json`.

    Args:
        turns: Turns of a conversation.
    """
    return json.dumps([{"role": turn.role, "content": turn.content} for turn in turns], ensure_ascii=False)


def turns_from_json(text: str) -> tuple[Turn, ...]:
    """Parse turns from JSON text.

    Args:
        text: JSON text from `turns_to_json`.
    """
    return tuple(Turn(cast(Role, turn["role"]), turn["content"]) for turn in json.loads(text))


def format_turns(turns: Sequence[Turn]) -> str:
    """Text of turns: ``role: content`` per turn, with blank lines between.

    Args:
        turns: Turns of a conversation.
    """
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)
