"""Prompts: the default wordings of ``prompts.yaml``, and templates that are filled with the fields of a row."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import yaml

from semalign_pl.languages import Language, get_language

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}\n]+)\}|[{}]")
_BRACE = {"{{": "{", "}}": "}"}


@dataclass(frozen=True)
class _Wordings:
    """Default prompts in one language.

    Attributes:
        prompts: Prompt of each task.
        name_of: Attribute of `Language` with a language's name in the language of the prompts.
        names: Names by code that take precedence over ``name_of``.
    """

    prompts: Mapping[str, str]
    name_of: str
    names: Mapping[str, str]


@cache
def _wordings() -> dict[str, _Wordings]:
    entries = yaml.safe_load((Path(__file__).parent / "prompts.yaml").read_text(encoding="utf-8"))
    return {
        code: _Wordings(prompts=entry, name_of=entry.pop("name_of"), names=entry.pop("names", {}))
        for code, entry in entries.items()
    }


def prompt_languages() -> list[str]:
    """Codes of the languages in which there are default prompts."""
    return list(_wordings())


def wording(
    task: str,
    prompt_language: str,
    languages: Mapping[str, str],
    option: str = "data.init_args.task.init_args.prompt_language",
) -> str:
    """Default prompt of a task, with the names of languages filled in.

    Args:
        task: Name of the prompt in ``prompts.yaml``, such as ``Translation``.
        prompt_language: Code of the language that the prompt is written in.
        languages: Language whose name replaces each of ``{from}``, ``{to}``, ``{language}``.
        option: YAML key of the language, for the message.

    Raises:
        ValueError: If there is no default prompt in ``prompt_language``.
    """
    if prompt_language not in prompt_languages():
        raise ValueError(
            f"{option}: there is no prompt in {prompt_language!r}, only in {', '.join(prompt_languages())}; give the "
            "wording yourself as prompt"
        )
    shipped = _wordings()[prompt_language]
    text = shipped.prompts[task]
    for placeholder, name_or_code in languages.items():
        language = _find_language(name_or_code)
        name = getattr(language, shipped.name_of) if language else name_or_code
        text = text.replace(f"{{{placeholder}}}", shipped.names.get(code(name_or_code), name))
    return text


def code(language: str) -> str:
    """Code of a language.

    Args:
        language: Code of the language, or its .yaml file.
    """
    own = _find_language(language) if _is_file(language) else None
    return own.code if own else language


def _is_file(language: str) -> bool:
    return language.endswith((".yaml", ".yml"))


def _find_language(language: str) -> Language | None:
    """Language of a code or file; ``None`` for an unknown code, because a corpus may be in any language."""
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
        option: YAML key of the template, for messages.

    Raises:
        ValueError: If the template has no field, or a single brace.
    """
    names: dict[str, None] = {}
    where = f"{option}: {template!r}"
    for piece in _PIECE.finditer(template):
        if piece[0] in ("{", "}"):
            raise ValueError(
                f"{where} has a lone {piece[0]} (character {piece.start() + 1}); double it for a plain one"
            )
        if piece[1]:
            names[piece[1]] = None
    if not names:
        raise ValueError(f"{where} has no {{field}}; put one where a row's text goes")
    return list(names)


def fill(template: str, row: Mapping[str, str]) -> str:
    """Fill a template with the fields of a row; a line whose fields are all blank is left out.

    Args:
        template: Template, as for ``fields``.
        row: Text of each field.
    """
    lines = []
    for line in template.split("\n"):
        names = [piece[1] for piece in _PIECE.finditer(line) if piece[1]]
        if not names or any(row[name].strip() for name in names):
            lines.append(_PIECE.sub(lambda piece: row[piece[1]] if piece[1] else _BRACE[piece[0]], line))
    return "\n".join(lines)
