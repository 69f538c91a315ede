"""Languages read from YAML: the shipped ones, and a user's own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from functools import cache
from importlib.resources import files
from pathlib import Path

import regex
import yaml

from semalign_pl.files.documents import read_yaml
from semalign_pl.languages.corpus_identification import CorpusIdentification
from semalign_pl.languages.identification import Identification
from semalign_pl.languages.language import Language
from semalign_pl.languages.legacy import Legacy
from semalign_pl.languages.normal import pattern
from semalign_pl.messages.suggestion import suggest
from semalign_pl.types import Json

UNITS = ("syllable", "character", "word")
KEYS = tuple(field.name for field in fields(Language))
LEGACY = tuple(field.name for field in fields(Legacy))
IDENTIFICATION = {kind: tuple(field.name for field in fields(kind)) for kind in (Identification, CorpusIdentification)}
_PATTERNS = {
    "word": r"[\p{L}\p{M}\p{Nd}]+(?:['’][\p{L}\p{M}]+|[\u200C\u200D]+[\p{L}\p{M}\p{Nd}]+)*|[^\s\p{DI}]",
    "character": r"\p{Nd}+|(?!\s|\p{DI})\X",
}
_FORM = "a mapping such as `code: xx`, one key per line"
_NEEDED = ("code", "name", "scripts", "unit")
_NOT_EMPTY = ("code", "name", "unit", "pattern")


def language_codes() -> list[str]:
    """Codes of the shipped languages."""
    return list(_entries())


@cache
def load_shipped(code: str) -> Language:
    """Shipped language of a code from `language_codes`."""
    return _language({"code": code, **_entries()[code]}, code)


_JOINERS = r"\u200C\u200D"
"""Invisible characters that a language of the user's own keeps if its file has no ``keeps``: members of a set."""


def read_language(path: Path) -> Language:
    """Read a user's own language.

    Needed are ``code``, ``name``, ``scripts`` and ``unit``, or ``code`` and ``like``, which names a shipped language
    whose values hold for every key that is not given; ``languages.yaml`` explains the keys. Without ``like``, the
    normal form keeps the joiners U+200C and U+200D, which many scripts need, unless ``keeps`` says otherwise::

        code: ja
        name: Japanese
        scripts: [Han, Hiragana, Katakana]
        unit: character

    Args:
        path: Path of a YAML file.

    Raises:
        ValueError: If the file is not of this form; names file, key, value and remedy.
    """
    entry = read_yaml(path)
    if not isinstance(entry, dict):
        raise ValueError(f"{path}: must be {_FORM}, not {str(entry)[:40]!r}")
    if entry.get("code") in language_codes():
        raise ValueError(
            f"{path}: code: {entry['code']!r} is a shipped language's; choose another, as signatures of scores name it"
        )
    return _language(entry if "like" in entry else {"keeps": _JOINERS, **entry}, str(path))


@cache
def _entries() -> dict[str, dict[str, Json]]:
    folder = files("semalign_pl.languages")
    texts = [(folder / name).read_text(encoding="utf-8") for name in ("languages.yaml", "han.yaml")]
    return {code: entry for text in texts for code, entry in yaml.safe_load(text).items()}


def _language(entry: Mapping[str, Json], where: str) -> Language:
    """Check an entry, with the values that it inherits and the defaults, and make it a language."""
    for key in entry:
        if key not in (*KEYS, "like"):
            raise ValueError(f"{where}: {key}: there is no such key; {suggest_name(str(key), [*KEYS, 'like'])}")
    values = _inherit(entry, where)
    if missing := next((key for key in _NEEDED if key not in values), None):
        raise ValueError(f"{where}: {missing}: it is missing; write it, or `like: bo` to take it from another language")
    text = {key: _text(key, value, where) for key, value in values.items() if key not in _OTHER_KINDS}
    unit = text["unit"]
    if unit not in UNITS:
        raise ValueError(f"{where}: unit: {unit!r} is none of {', '.join(UNITS)}; give one of them")
    if "pattern" not in text and unit not in _PATTERNS:
        raise ValueError(f"{where}: pattern: it is missing; a {unit} needs a regex that matches one")
    default = {"native": text["name"], "chinese": text["name"], "pattern": _PATTERNS.get(unit, "")}
    letters = "".join(text.get("letters", "").split())
    language = Language(
        **{**default, **text, "letters": letters},
        scripts=_texts("scripts", values["scripts"], where),
        replacements=_replacements(values.get("replacements", []), where),
        order=_texts("order", values.get("order", []), where),
        legacy=_legacy(values["legacy"], where) if "legacy" in values else None,
        identification=_identification(values.get("identification"), where),
    )
    _check_patterns(language, where)
    return language


_OTHER_KINDS = ("scripts", "replacements", "order", "legacy", "identification")
"""Keys whose values are not texts."""


def _inherit(entry: Mapping[str, Json], where: str) -> dict[str, Json]:
    """Values of an entry, over those of the shipped language that it is like."""
    own = {key: value for key, value in entry.items() if key != "like"}
    if "like" not in entry:
        return own
    like = entry["like"]
    if not isinstance(like, str) or like not in language_codes():
        hint = suggest_name(str(like), language_codes())
        raise ValueError(f"{where}: like: {like!r} is not a shipped language; {hint}")
    parent = _inherit(_entries()[like], where)
    if own.get("unit", parent["unit"]) != parent["unit"]:
        del parent["pattern"]  # it is of the other unit
    return {**parent, **own}


def _text(key: str, value: Json, where: str) -> str:
    if not isinstance(value, str) or (value == "" and key in _NOT_EMPTY):
        raise _wrong_kind(key, value, "text; put it in quotes", where)
    return value


def _texts(key: str, value: Json, where: str) -> tuple[str, ...]:
    texts = [one for one in value if isinstance(one, str)] if isinstance(value, list) else []
    if texts != value or (not texts and key != "order"):
        raise _wrong_kind(key, value, "a list of texts, such as [Tibetan]", where)
    return tuple(texts)


def _replacements(value: Json, where: str) -> tuple[tuple[str, str], ...]:
    pairs = []
    for pair in _flat(value) if isinstance(value, list) else [value]:
        match pair:
            case [str(old), str(new)]:
                pairs.append((old, new))
            case _:
                raise _wrong_kind("replacements", value, "a list of [pattern, replacement]", where)
    return tuple(pairs)


def _legacy(value: Json, where: str) -> Legacy:
    texts = {key: one for key, one in value.items() if isinstance(one, str)} if isinstance(value, dict) else {}
    if texts != value or {*texts} != {*LEGACY}:
        raise _wrong_kind("legacy", value, f"a mapping of {', '.join(LEGACY)} to texts", where)
    return Legacy(**texts)


def _identification(value: Json, where: str) -> Identification | CorpusIdentification | None:
    if value is None:
        return None
    kind = CorpusIdentification if isinstance(value, dict) and "corpus" in value else Identification
    keys = IDENTIFICATION[kind]
    if not isinstance(value, dict) or not {*keys} - {"min_probability"} <= {*value} <= {*keys}:
        forms = ", or of ".join(", ".join(keys) for keys in IDENTIFICATION.values())
        raise _wrong_kind("identification", value, f"a mapping of {forms}", where)
    given = dict(value)
    if "against" in given:
        given["against"] = _texts("identification: against", given["against"], where)  # type: ignore[assignment]
    try:
        return kind(**given)  # type: ignore[arg-type]  # it checks the kinds itself
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _wrong_kind(key: str, value: Json, wanted: str, where: str) -> ValueError:
    return ValueError(f"{where}: {key}: {str(value)[:60]!r} is not {wanted}")


def _flat(replacements: list[Json]) -> list[Json]:
    """Pairs, including those of lists of pairs, by which a language can have another's rules and more."""
    grouped = [one if isinstance(one, list) and one and isinstance(one[0], list) else [one] for one in replacements]
    return [pair for group in grouped for pair in group]


def _check_patterns(language: Language, where: str) -> None:
    """Check that all patterns compile, units are not empty, and no group changes what ``findall`` returns."""
    for script in language.scripts:
        _compile(rf"\p{{Script={script}}}", f"{where}: scripts: {script!r}", "write a script's name as Unicode does")
    for key in ("letters", "compatibility", "pattern"):
        _compile(getattr(language, key), f"{where}: {key}: {getattr(language, key)!r}")
    for key in ("allowed", "keeps"):
        members = _compile(f"[{getattr(language, key)}x]", f"{where}: {key}: {getattr(language, key)!r}")
        if not members.fullmatch("x"):
            raise ValueError(f"{where}: {key}: {getattr(language, key)!r} is more than one set; write what is in [ ]")
    for old, new in language.replacements:
        compiled = _compile(old, f"{where}: replacements: {old!r}")
        _check_replacement(compiled, new, f"{where}: replacements: {new!r}")
    for key in LEGACY[1:3] if language.legacy else ():
        _compile(getattr(language.legacy, key), f"{where}: legacy: {key}: {getattr(language.legacy, key)!r}")
    for sign in language.order:
        _check_no_group(_compile(sign, f"{where}: order: {sign!r}"), f"{where}: order: {sign!r}")
    unit = pattern(language.pattern)
    _check_no_group(unit, f"{where}: pattern: {language.pattern!r}")
    if unit.fullmatch("") or unit.fullmatch(" "):
        raise ValueError(
            f"{where}: pattern: {language.pattern!r} matches nothing, or a space; match one character or more"
        )


def _compile(source: str, where: str, remedy: str = "mend it, see the documentation of `regex`") -> regex.Pattern[str]:
    try:
        return pattern(source)
    except regex.error as error:
        raise ValueError(f"{' '.join(where.split())[:200]} is no pattern ({error}); {remedy}") from error


def _check_replacement(compiled: regex.Pattern[str], new: str, where: str) -> None:
    try:
        pattern(f"(?:{compiled.pattern}\n)|\\Z").sub(new, "")  # a group is looked up only where something matches
    except (regex.error, IndexError) as error:
        raise ValueError(f"{where} is no replacement ({error}); write text, and \\1 for the first group") from error


def _check_no_group(compiled: regex.Pattern[str], where: str) -> None:
    if compiled.groups:
        raise ValueError(f"{' '.join(where.split())[:200]} captures a group; write (?:...) for (...)")


def suggest_name(name: str, names: list[str]) -> str:
    """Suggestion of the most similar name, or all names if none is similar."""
    return suggest(name, names, f"give one of {', '.join(names)}")
