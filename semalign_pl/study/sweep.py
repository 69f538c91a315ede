"""The key ``over`` of a system: settings to try, each combination of which is a variant of the system."""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.messages.errors import UsageError
from semalign_pl.messages.mistakes import summarise
from semalign_pl.messages.suggestion import suggest
from semalign_pl.run.named_files import OUTPUT_KEYS, flatten

GROUPS = ("model", "data", "trainer")
OWN = ("model.init_args.adapter", "model.init_args.seed", "data.init_args.seed")
"""Settings that the study gives itself."""


class Variant(NamedTuple):
    """One combination of swept settings.

    Attributes:
        suffix: Name of the variant after the system's, such as ``lr-0.001``; safe as the name of a folder.
        flags: Settings as flags of a command.
    """

    suffix: str
    flags: tuple[str, ...]


def read_settings(given: object, config: Path, where: str) -> tuple[str, ...]:
    """Return the flags of a system's own settings, after a check that its recipe accepts them.

    Args:
        given: Value of the key ``set``: values by setting, named as in `expand`. A value may be a list or a mapping.
        config: Recipe of the system.
        where: File and key to name in messages.

    Raises:
        ValueError: If a setting or a value is not one that the recipe can have; names the key and the remedy.
    """
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f"{where}: {given!r} has no setting; write `set: {{trainer.max_epochs: 4}}`")
    keys, flags = list_keys(config, (), where), list[str]()
    for name, value in given.items():
        flags += (f"--{_resolve(str(name), keys, f'{where}.{name}')}", _flag_value(value))
    list_keys(config, tuple(flags), where)  # refuses a value of a wrong type
    return tuple(flags)


def _flag_value(value: object) -> str:
    """Value as text of a flag, which is read as YAML."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def read_variants(over: object, config: Path, where: str, flags: tuple[str, ...] = ()) -> list[Variant]:
    """Return the variants of a system, after a check that its recipe accepts their settings.

    Args:
        over: Value of the key ``over``; see `expand`.
        config: Recipe of the system.
        where: File and key to name in messages.
        flags: Settings that all variants share, as flags.

    Raises:
        ValueError: If a setting or a value is not one that the recipe can have; names the key and the remedy.
    """
    variants = expand(over, list_keys(config, flags, where), where)
    if _all_numbers(over):  # refused one by one, even if a later one wins: all are checked in the time of one
        with suppress(ValueError):
            list_keys(config, (*flags, *(word for variant in variants for word in variant.flags)), where)
            return variants
    for variant in variants:
        list_keys(config, (*flags, *variant.flags), f"{where}: {variant.suffix}")  # refuses a value of a wrong type
    return variants


def _all_numbers(over: object) -> bool:
    values = itertools.chain.from_iterable(over.values()) if isinstance(over, Mapping) else ()
    return all(isinstance(value, int | float) for value in values)


def expand(over: object, keys: Sequence[str], where: str) -> list[Variant]:
    """Return all combinations of the values of ``over``.

    Args:
        over: Lists of values by setting, such as ``{optimizer.lr: [1e-4, 1e-3]}``. A setting is named as in the recipe,
            without ``model``, ``data``, ``trainer`` and ``init_args``, or by its whole key.
        keys: Whole keys of the recipe's settings.
        where: File and key to name in messages.

    Raises:
        ValueError: If a setting is not one of ``keys``, or a value cannot name a folder.

    >>> expand({"beta": [0, 0.04]}, ["model.init_args.beta"], "over")[1]
    Variant(suffix='beta-0.04', flags=('--model.init_args.beta', '0.04'))
    """
    if not isinstance(over, Mapping) or not over:
        raise ValueError(f"{where}: {over!r} lists no setting; write `over: {{optimizer.lr: [1e-4, 1e-3]}}`")
    choices = []
    for name, values in over.items():
        key = _resolve(str(name), keys, f"{where}.{name}")
        texts = _texts(values, f"{where}.{name}")
        choices.append([(f"{str(name).split('.')[-1]}-{text}", (f"--{key}", text)) for text in texts])
    return [
        Variant(".".join(suffix for suffix, _ in chosen), tuple(word for _, flag in chosen for word in flag))
        for chosen in itertools.product(*choices)
    ]


def list_keys(config: Path, flags: tuple[str, ...], where: str) -> list[str]:
    """Return the keys of all settings of a recipe that a flag can set, defaults included.

    Args:
        config: Recipe.
        flags: Flags to parse with it.
        where: File and key to name in messages.

    Raises:
        ValueError: If recipe and flags cannot be parsed.
    """
    try:
        return _parse_keys(config, config.read_bytes(), flags)
    except UsageError as error:
        args = ["fit", "--config", str(config), *flags]
        raise ValueError(f"{where}: {summarise(str(error), error.keys, args)}") from error


@cache
def _parse_keys(config: Path, content: bytes, flags: tuple[str, ...]) -> list[str]:
    """Keys of a recipe, those of mappings and lists too.

    They are computed once per content of the file, because systems share recipes and parsing is slow.
    """
    settings = parse_recipe(("--config", str(config), *flags)).settings.as_dict()
    leaves = [key.partition("[")[0].split(".") for key, _ in flatten(settings)]
    every = {".".join(words[:end]): None for words in leaves for end in range(2, len(words) + 1) if words[0] in GROUPS}
    return [key for key in every if not key.endswith(".init_args")]


def _resolve(name: str, keys: Sequence[str], where: str) -> str:
    """Key of the setting that a short name stands for."""
    short = {key: key.replace(".init_args", "").partition(".")[2] for key in keys}
    matches = [name] if name in short else [key for key in keys if short[key] == name]
    if len(matches) > 1:
        raise ValueError(f"{where}: is the name of several settings; write one of {', '.join(matches)}")
    if not matches:
        ends = [known for known in dict.fromkeys(short.values()) if known.split(".")[-1] == name.split(".")[-1]]
        advice = f"did you mean {' or '.join(ends)}?" if ends else suggest(name, short.values(), "name one of a recipe")
        raise ValueError(f"{where}: the recipe has no such setting; {advice}")
    if matches[0] in OWN or matches[0].split(".")[-1] in OUTPUT_KEYS:
        raise ValueError(f"{where}: {matches[0]} is set by the study itself; leave it out")
    return matches[0]


def _texts(values: object, where: str) -> list[str]:
    """Values as text, for flags and names of folders."""
    if not isinstance(values, list) or not values:
        raise ValueError(f"{where}: {values!r} is no list of values; write a list, such as [1e-4, 1e-3]")
    texts = [_text(value, where) for value in values]
    if twice := [text for text in texts if texts.count(text) > 1]:
        raise ValueError(f"{where}: {twice[0]} is listed twice; leave one out")
    return texts


def _text(value: object, where: str) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        value = float(value)  # YAML 1.1 takes 1e-4 for text
    if isinstance(value, int | float) and math.isfinite(value):
        return repr(value)
    if isinstance(value, str) and re.fullmatch(r"\w[\w.-]*", value):
        return value
    raise ValueError(
        f"{where}: {value!r} cannot name a folder; sweep over numbers, true, false or words, and list other settings "
        "as systems with recipes of their own"
    )
