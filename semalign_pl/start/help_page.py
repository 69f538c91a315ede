"""Help pages of the training commands: model and data first, in the words of their classes, and the trainer last."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from semalign_pl.start.arguments import class_and_values
from semalign_pl.start.keys import MODULES, TRAINER_WORDS, USED_MOST, find_shipped, own_keys, trainer_parameters
from semalign_pl.start.source_class import Parameter, SourceClass, read_class

_SHARED = "AlignModule"
"""Class whose arguments all modules with a policy have."""


def _width() -> int:
    return max(60, min(120, shutil.get_terminal_size((100, 24)).columns))


def _wrap(text: str, indent: int) -> str:
    return textwrap.fill(" ".join(text.split()).replace("``", "`"), _width(), initial_indent=" " * indent,
                         subsequent_indent=" " * indent, break_on_hyphens=False)  # fmt: skip


def _table(rows: Mapping[str, str]) -> str:
    """Names and descriptions in two columns."""
    column = max(map(len, rows)) + 4
    lines = [
        textwrap.fill(text.replace("``", "`"), _width(), initial_indent=f"  {name:<{column - 2}}",
                      subsequent_indent=" " * column, break_on_hyphens=False)
        for name, text in rows.items()
    ]  # fmt: skip
    return "\n".join(lines)


def _values(kind: str) -> str:
    """Type in a newcomer's words."""
    text = kind.replace("Literal[", "").replace("'", "").rstrip("]") if kind.startswith("Literal[") else kind
    words = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "str | None": "text"}
    words |= {"int | None": "whole number", "float | None": "number", "OptimizerCallable": "class of optimisers"}
    words |= {"ScheduleCallable": "class of schedules", "Corpora": "file, or list of corpora"}
    return words.get(text, text.replace(" | None", ""))


def key_lines(
    parameters: Iterable[Parameter], recipe: Mapping[str, object] | None = None, indent: int = 2, nested: bool = True
) -> str:
    """Keys with type, default and description.

    Args:
        parameters: Arguments of a class.
        recipe: Values that a recipe gives; shown beside the defaults.
        indent: Number of spaces before a key.
        nested: True to list the keys of settings within them, indented.
    """
    lines = []
    for one in parameters:
        facts = ["required" if one.default is None else f"default: {one.default}"]
        given = (recipe or {}).get(one.name, ...)
        if given is not ...:
            facts.append(f"recipe: {_short(given)}")
        lines.append(_wrap(f"{one.name}  {_values(one.kind)}  ({'; '.join(facts)})", indent))
        if one.help:
            lines.append(_wrap(one.help, indent + 4))
        for module, name in one.settings if nested else ():
            settings = read_class(module, name)
            if settings is not None:
                inner = given if isinstance(given, Mapping) else None
                lines.append(key_lines(settings.parameters, inner, indent + 4))
    return "\n".join(lines)


def _short(value: object) -> str:
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return textwrap.shorten(text, 60, placeholder=" …")


def find_place(one: SourceClass) -> str:
    """Find the key of a recipe under which the arguments of a class are given.

    Args:
        one: Class of this package.
    """
    package = one.module.split(".")[1]
    if package in ("callbacks", "rewards", "probes"):
        return "trainer.callbacks[N].init_args"
    for key, owner in (*(("model", name) for name in MODULES), ("data", "CorpusDataModule")):
        found = find_shipped(owner)
        if owner == one.name or found is None:
            return f"{key}.init_args"
        for parameter in found.parameters:
            if not {one.name, *one.bases}.isdisjoint(re.findall(r"\w+", parameter.kind)):
                settings = one.name in (name for _, name in parameter.settings)
                return f"{key}.init_args.{parameter.name}{'' if settings else '.init_args'}"
    return "init_args"


def class_page(one: SourceClass, key: str, recipe: Mapping[str, object] | None = None) -> str:
    """Page of one class: its description and keys.

    Args:
        one: The class.
        key: Key of the recipe under which its arguments are given, e.g. ``model.init_args``.
        recipe: Values that a recipe gives.
    """
    sections = [f"{one.name}: {one.summary.replace('``', '`')}"]
    paragraphs = [_wrap(text, 2) for text in one.text.split("\n\n") if text.strip()]
    keys = key_lines(one.parameters, recipe) or "  It has no keys."
    return "\n\n".join([*[_wrap(sections[0], 0)], *paragraphs, f"keys ({key}.KEY)\n{keys}"])


def trainer_page() -> str:
    """Page of all keys of Lightning's Trainer, in Lightning's words."""
    rows = (
        Parameter(p.name, p.kind, p.default, TRAINER_WORDS.get(p.name, p.help.split(". ")[0]), p.owner)
        for p in trainer_parameters()
    )
    return f"keys of Lightning's Trainer (trainer.KEY)\n{key_lines(rows)}"


def command_page(command: str, meaning: str) -> str:
    """Page of ``semalign COMMAND --help``.

    Args:
        command: One of ``keys.COMMANDS``.
        meaning: Line of the command in ``semalign --help``.
    """
    modules = {name: found.summary for name in MODULES if (found := find_shipped(name)) is not None}
    shared, data = find_shipped(_SHARED), find_shipped("CorpusDataModule")
    assert shared is not None and data is not None, "the package ships them"
    with_policy = [name for name in modules if _SHARED in _bases(name)]
    options = {f"--{key}": text for key, text in own_keys(command).items()}
    trainer = {key: TRAINER_WORDS[key] for key in USED_MOST}
    pages = {
        f"semalign {command} --model.help GRPOModule": "keys of one class: a module, reward, LoraSettings …",
        f"semalign {command} --config RECIPE.yaml --help": "keys of the classes that a recipe names, with its values",
        f"semalign {command} --trainer.help": "all keys of the trainer",
    }
    sections = (
        f"usage: semalign {command} --config RECIPE.yaml [--KEY VALUE …]",
        _wrap(f"{meaning[0].upper()}{meaning[1:]}. Every key of the recipe is a flag too, as in "
                 "--model.init_args.max_new_tokens 128; the last one wins.", 0),
        f"more help\n{_table(pages)}",
        f"model: what is trained (model.class_path)\n{_table(modules)}",
        f"keys of {', '.join(with_policy[:-1])} and {with_policy[-1]} (model.init_args.KEY)\n"
        f"{key_lines(shared.parameters, nested=False)}",
        _wrap(f"data: {data.summary}", 0)
        + f"\nkeys of CorpusDataModule (data.init_args.KEY)\n{key_lines(data.parameters, nested=False)}",
        f"trainer: steps, devices, callbacks (trainer.KEY; these are set most)\n{_table(trainer)}",
        f"options of the command\n{_table(options)}",
    )  # fmt: skip
    return "\n\n".join(sections)


def _bases(name: str) -> Sequence[str]:
    found = find_shipped(name)
    return () if found is None else found.bases


def recipe_page(command: str, recipe: Mapping[str, object]) -> str:
    """Page of the classes that a recipe names, with the recipe's values beside the defaults.

    Args:
        command: One of ``keys.COMMANDS``.
        recipe: Content of the recipe.
    """
    sections = [f"usage: semalign {command} --config RECIPE.yaml [--KEY VALUE …]"]
    trainer = recipe.get("trainer")
    callbacks = trainer.get("callbacks") if isinstance(trainer, Mapping) else None
    named = [("model", recipe.get("model")), ("data", recipe.get("data"))]
    named += [
        (f"trainer.callbacks[{i}]", one) for i, one in enumerate(callbacks if isinstance(callbacks, list) else [])
    ]
    for key, value in named:
        path, given = class_and_values(value)
        if (found := find_shipped(path)) is not None:
            sections.append(f"{key}: {class_page(found, f'{key}.init_args', given)}")
        elif path:
            sections.append(f"{key}: {path}, which is not of this package; semalign {command} --{key}.help {path}")
    return "\n\n".join([*sections, f"The trainer's keys: semalign {command} --trainer.help"])
