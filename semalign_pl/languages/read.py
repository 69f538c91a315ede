"""Language profiles out of YAML: the shipped ones, and a user's own."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import regex
import yaml

from semalign_pl.files.documents import read_yaml
from semalign_pl.languages.language import Language
from semalign_pl.languages.legacy import Legacy
from semalign_pl.languages.normal import pattern

UNITS = ("syllable", "character", "word")
KEYS = tuple(field.name for field in fields(Language))
LEGACY = tuple(field.name for field in fields(Legacy))
_PATTERNS = {
    "word": r"[\p{L}\p{M}\p{Nd}]+(?:['’][\p{L}\p{M}]+)*|[^\s\p{DI}]",
    "character": r"\p{Nd}+|(?!\s|\p{DI})\X",
}
_SHOULD_BE = "a mapping such as `code: xx`, one key a line"


def known() -> list[str]:
    """Codes of the shipped profiles."""
    return list(_entries())


@cache
def shipped(code: str) -> Language:
    """A shipped profile, by a code that is known."""
    return _profile({"code": code, **_entries()[code]}, code)


def read_profile(path: Path) -> Language:
    """A user's own profile.

    Needed are ``code``, ``name``, ``scripts`` and ``unit``, or ``code`` and ``like``, which names a shipped profile
    whose values hold for every key that is not given; ``languages.yaml`` explains the keys::

        code: ja
        name: Japanese
        scripts: [Han, Hiragana, Katakana]
        unit: character

    Args:
        path: Of a YAML file.

    Raises:
        ValueError: If the file is not of this form; names file, key, value and remedy.
    """
    entry = read_yaml(path)
    if not isinstance(entry, Mapping):
        raise ValueError(f"{path}: must be {_SHOULD_BE}, not {str(entry)[:40]!r}")
    if entry.get("code") in known():
        raise ValueError(
            f"{path}: code: {entry['code']!r} is a shipped profile's; choose another, as signatures of scores name it"
        )
    return _profile(entry, str(path))


@cache
def _entries() -> dict[str, dict[str, Any]]:
    folder = files("semalign_pl.languages")
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("languages.yaml", "han.yaml")]
    return {code: entry for text in texts for code, entry in yaml.safe_load(text).items()}


def _profile(entry: Mapping[Any, Any], where: str) -> Language:
    """The entry with what it inherits and what goes without saying, checked."""
    for key in entry:
        if key not in (*KEYS, "like"):
            raise ValueError(f"{where}: {key}: there is no such key; {near(str(key), [*KEYS, 'like'])}")
    said = _inherited(entry, where)
    if missing := next((key for key in ("code", "name", "scripts", "unit") if key not in said), None):
        raise ValueError(f"{where}: {missing}: it is missing; write it, or `like: bo` to take it from another profile")
    for key, value in said.items():
        _check_kind(key, value, where)
    if said["unit"] not in UNITS:
        raise ValueError(f"{where}: unit: {said['unit']!r} is none of {', '.join(UNITS)}; give one of them")
    if "pattern" not in said and said["unit"] not in _PATTERNS:
        raise ValueError(f"{where}: pattern: it is missing; a {said['unit']} needs a regex that matches one")
    profile = Language(
        **{
            "native": said["name"],
            "chinese": said["name"],
            "pattern": _PATTERNS.get(said["unit"], ""),
            **said,
            "letters": "".join(said.get("letters", "").split()),
            "scripts": tuple(said["scripts"]),
            "replacements": tuple((old, new) for old, new in _flat(said.get("replacements", []))),
            "order": tuple(said.get("order", ())),
            "legacy": Legacy(**said["legacy"]) if "legacy" in said else None,
        }
    )
    _check_patterns(profile, where)
    return profile


def _inherited(entry: Mapping[Any, Any], where: str) -> dict[str, Any]:
    own = {key: value for key, value in entry.items() if key != "like"}
    if "like" not in entry:
        return own
    like = entry["like"]
    if like not in known():
        raise ValueError(f"{where}: like: {like!r} is not a shipped profile; {near(str(like), known())}")
    parent = _inherited(_entries()[like], where)
    if own.get("unit", parent["unit"]) != parent["unit"]:
        del parent["pattern"]  # it is of the other unit
    return {**parent, **own}


def _flat(replacements: list[Any]) -> list[Any]:
    """Pairs, and the pairs of lists among them: so that a language can have another's rules and more."""
    grouped = [one if isinstance(one, list) and one and isinstance(one[0], list) else [one] for one in replacements]
    return [pair for group in grouped for pair in group]


def _check_kind(key: str, value: Any, where: str) -> None:
    if key in ("scripts", "order"):
        right = isinstance(value, list) and all(isinstance(one, str) for one in value) and (value or key == "order")
        wanted = "a list of texts, such as [Tibetan]"
    elif key == "replacements":
        pairs = _flat(value) if isinstance(value, list) else [value]
        right = all(isinstance(pair, list) and list(map(type, pair)) == [str, str] for pair in pairs)
        wanted = "a list of [pattern, replacement]"
    elif key == "legacy":
        right = isinstance(value, Mapping) and {*value} == {*LEGACY} and all(isinstance(v, str) for v in value.values())
        wanted = f"a mapping of {', '.join(LEGACY)} to texts"
    else:
        right, wanted = isinstance(value, str), "text; put it in quotes"
        right = right and (value != "" or key not in ("code", "name", "unit", "pattern"))
    if not right:
        raise ValueError(f"{where}: {key}: {str(value)[:60]!r} is not {wanted}")


def _check_patterns(profile: Language, where: str) -> None:
    """Everything compiles; a unit is never empty; no group is captured, which would change what ``findall`` returns."""
    for script in profile.scripts:
        _compiles(rf"\p{{Script={script}}}", f"{where}: scripts: {script!r}", "write a script's name as Unicode does")
    for key in ("letters", "compatibility", "pattern"):
        _compiles(getattr(profile, key), f"{where}: {key}: {getattr(profile, key)!r}")
    for key in ("allowed", "keeps"):
        members = _compiles(f"[{getattr(profile, key)}x]", f"{where}: {key}: {getattr(profile, key)!r}")
        if not members.fullmatch("x"):
            raise ValueError(
                f"{where}: {key}: {getattr(profile, key)!r} is more than one set; write what stands in [ ]"
            )
    for old, new in profile.replacements:
        compiled = _compiles(old, f"{where}: replacements: {old!r}")
        _replaces(compiled, new, f"{where}: replacements: {new!r}")
    for key in LEGACY[1:3] if profile.legacy else ():
        _compiles(getattr(profile.legacy, key), f"{where}: legacy: {key}: {getattr(profile.legacy, key)!r}")
    for sign in profile.order:
        _no_group(_compiles(sign, f"{where}: order: {sign!r}"), f"{where}: order: {sign!r}")
    unit = pattern(profile.pattern)
    _no_group(unit, f"{where}: pattern: {profile.pattern!r}")
    if unit.fullmatch("") or unit.fullmatch(" "):
        raise ValueError(
            f"{where}: pattern: {profile.pattern!r} matches nothing, or a space; match one character or more"
        )


def _compiles(source: str, where: str, remedy: str = "mend it, see the documentation of `regex`") -> regex.Pattern[str]:
    try:
        return pattern(source)
    except regex.error as error:
        raise ValueError(f"{' '.join(where.split())[:200]} is no pattern ({error}); {remedy}") from error


def _replaces(compiled: regex.Pattern[str], new: str, where: str) -> None:
    try:
        pattern(f"(?:{compiled.pattern}\n)|\\Z").sub(new, "")  # a group is looked up only where something matches
    except (regex.error, IndexError) as error:
        raise ValueError(f"{where} is no replacement ({error}); write text, and \\1 for the first group") from error


def _no_group(compiled: regex.Pattern[str], where: str) -> None:
    if compiled.groups:
        raise ValueError(f"{' '.join(where.split())[:200]} captures a group; write (?:...) for (...)")


def near(name: str, names: list[str]) -> str:
    """What was probably meant, or all that there is."""
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"give one of {', '.join(names)}"
