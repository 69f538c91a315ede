"""Prompts as data: the shipped wordings of ``prompts.yaml``, and templates that any row can fill."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from semalign_pl.languages import LanguageProfile, get_language

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}\n]+)\}|[{}]")
_BRACE = {"{{": "{", "}}": "}"}


@cache
def _wordings() -> dict[str, dict[str, Any]]:
    return yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text(encoding="utf-8"))


def wording(task: str, prompt_language: str, languages: Mapping[str, str]) -> str:
    """The shipped prompt of a task, with the names of languages filled in.

    Args:
        task: ``Translation``, ``Headline`` or ``Summarisation``.
        prompt_language: The language to ask in.
        languages: The language to name in place of each of ``{from}``, ``{to}``, ``{language}``.
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
    """The code of a language named by code or by the .yaml file of its profile."""
    profile = _profile(language) if _is_file(language) else None
    return profile.code if profile else language


def _is_file(language: str) -> bool:
    return language.endswith((".yaml", ".yml"))


def _profile(language: str) -> LanguageProfile | None:
    """The profile, or ``None`` for a code that has none: a corpus may be in a language we know nothing of."""
    try:
        return get_language(language)
    except ValueError:
        if _is_file(language):
            raise
        return None


def fields(template: str, option: str) -> list[str]:
    """The fields of a template in their order, each once.

    Raises:
        ValueError: There are none, or a brace stands alone; names the ``option`` that holds the template.
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
    """The template with a row's text; a line whose fields are all blank is left out."""
    kept = []
    for line in template.split("\n"):
        names = [piece[1] for piece in _PIECE.finditer(line) if piece[1]]
        if not names or any(row[name].strip() for name in names):
            kept.append(_PIECE.sub(lambda piece: row[piece[1]] if piece[1] else _BRACE[piece[0]], line))
    return "\n".join(kept)
