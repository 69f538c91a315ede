"""Prompts: the default wordings of ``prompts.yaml``, and templates that are filled with the fields of a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from semalign_pl.languages import Language, get_language

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}\n]+)\}|[{}]")
_BRACE = {"{{": "{", "}}": "}"}


@cache
def _wordings() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text(encoding="utf-8"))


def wording(task: str, prompt_language: str, languages: Mapping[str, str]) -> str:
    """Default prompt of a task, with the names of languages filled in.

    Args:
        task: Name of the task: ``Translation``, ``Headline`` or ``Summarisation``.
        prompt_language: Code of the language that the prompt is written in.
        languages: Language whose name replaces each of ``{from}``, ``{to}``, ``{language}``.

    Raises:
        ValueError: If there is no default prompt in ``prompt_language``.
    """
    if prompt_language not in _wordings():
        raise ValueError(
            f"data.init_args.task.init_args.prompt_language: there is no prompt in {prompt_language!r}, only in "
            f"{', '.join(_wordings())}; give the wording yourself as prompt"
        )
    shipped = _wordings()[prompt_language]
    text: str = shipped[task]
    for place, language in languages.items():
        profile = _profile(language)
        name = getattr(profile, shipped["name_of"]) if profile else language
        text = text.replace(f"{{{place}}}", shipped.get("names", {}).get(code(language), name))
    return text


def code(language: str) -> str:
    """Code of a language.

    Args:
        language: Code of the language, or its .yaml file.
    """
    profile = _profile(language) if _is_file(language) else None
    return profile.code if profile else language


def _is_file(language: str) -> bool:
    return language.endswith((".yaml", ".yml"))


def _profile(language: str) -> Language | None:
    """Settings of a language; ``None`` for an unknown code, because a corpus may be in any language."""
    try:
        return get_language(language)
    except ValueError:
        if _is_file(language):
            raise
        return None


def fields(template: str, option: str) -> list[str]:
    """Names of the fields of a template in order, each once.

    Args:
        template: Template with ``{field}`` for each field; ``{{`` and ``}}`` are braces.
        option: Option that holds the template, for messages.

    Raises:
        ValueError: If the template has no field, or a single brace.
    """
    found: dict[str, None] = {}
    where = f"data.init_args.task.init_args.{option}: {template!r}"
    for piece in _PIECE.finditer(template):
        if piece[0] in ("{", "}"):
            raise ValueError(
                f"{where} has a lone {piece[0]} (character {piece.start() + 1}); double it for a plain one"
            )
        if piece[1]:
            found[piece[1]] = None
    if not found:
        raise ValueError(f"{where} has no {{field}}; put one where a row's text goes")
    return list(found)


def fill(template: str, row: Mapping[str, str]) -> str:
    """Fill a template with the fields of a row; a line whose fields are all blank is left out.

    Args:
        template: Template, as for ``fields``.
        row: Text of each field.
    """
    kept = []
    for line in template.split("\n"):
        names = [piece[1] for piece in _PIECE.finditer(line) if piece[1]]
        if not names or any(row[name].strip() for name in names):
            kept.append(_PIECE.sub(lambda piece: row[piece[1]] if piece[1] else _BRACE[piece[0]], line))
    return "\n".join(kept)
