"""Mistakes in flags and recipes that can be seen before torch is loaded.

Only what is certain is refused: a key, class or value that this package defines. Everything else is left to the parser
of the command, which imports the classes. Messages are those that this parser would give.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from semalign_pl.files.documents import load_yaml
from semalign_pl.messages.errors import UsageError
from semalign_pl.messages.suggestion import suggest
from semalign_pl.start.arguments import class_and_values, flags, read_recipe
from semalign_pl.start.keys import all_keys, find_shipped
from semalign_pl.start.source_class import Parameter, read_class, shipped_classes

_NUMBERS = {"int": "a whole number", "float": "a number"}


def refuse_mistakes(command: str, args: Sequence[str]) -> None:
    """Refuse flags and recipes that are certain to be refused when a training command parses them.

    Commands that read a recipe without training call it too, after they have taken their own flags.

    Args:
        command: Command whose parser reads the flags, one of ``keys.COMMANDS``.
        args: Flags, without the command.

    Raises:
        UsageError: For a key that does not exist.
        ValueError: For a recipe, class or value that cannot be used.
    """
    keys = all_keys(command)
    tops = {key.split(".")[0] for key in keys}
    entries = {"model": _Entry(), "data": _Entry()}
    for flag, value in flags(args):
        bare = flag.lstrip("-").rstrip("+")
        head, _, rest = bare.partition(".")
        if flag in ("-c", "--config") and value is not None:
            recipe = read_recipe(value)
            _check_recipe(recipe, keys, tops)
            for key in entries.keys() & recipe.keys():
                entries[key].add(*class_and_values(recipe[key]))
        elif not flag.startswith("-") or not _may_exist(bare, head, keys, tops):
            raise UsageError(f"unrecognized arguments: {flag}", keys)
        elif head in entries and rest in ("", "class_path"):
            entries[head].add(value or "", {})
        elif head in entries and rest not in ("help", "init_args") and value is not None:
            entries[head].put(rest.removeprefix("init_args.").split("."), value)
    if not entries["model"].given:
        raise UsageError("the following arguments are required: model", keys)
    for key, entry in entries.items():
        _check_class(key, entry.path, entry.values, whole=entry.whole)


class _Entry:
    """The entry ``model`` or ``data``, as recipes and flags make it up.

    Attributes:
        path: Class of the entry.
        values: init_args of the entry.
        given: True if any recipe or flag has the entry.
        whole: False if the class changed, as the parser then keeps some of the init_args given before.
    """

    def __init__(self) -> None:
        self.path, self.given, self.whole = "", False, True
        self.values: dict[str, object] = {}

    def add(self, path: str, values: Mapping[str, object]) -> None:
        """Take what a recipe gives, or a flag that names the class."""
        self.given = True
        if path and self.path and path != self.path:
            self.values, self.whole = {}, False
        self.path = path or self.path
        self.values |= values

    def put(self, way: Sequence[str], value: str) -> None:
        """Take the value of a flag, which may be within an init_arg."""
        self.given = True
        inside = self.values
        for name in way[:-1]:
            inner = inside.get(name)
            inside[name] = inside = dict(inner) if isinstance(inner, Mapping) else {}
        inside[way[-1]] = _parse_value(value)


def _may_exist(bare: str, head: str, keys: Sequence[str], tops: set[str]) -> bool:
    """Return true if a flag may exist: it is a key, within a key that takes any, or the beginning of one."""
    if head == "trainer" and "." in bare:
        return ".".join(bare.split(".")[:2]) in keys or bare.endswith(".help")
    return head in tops or bare in ("c", "h") or any(key.startswith(bare) for key in keys)


def _check_recipe(recipe: Mapping[str, object], keys: Sequence[str], tops: set[str]) -> None:
    for key, value in recipe.items():
        if str(key).split(".")[0] not in tops:
            raise UsageError(f"does not accept option '{key}'", keys)
        if key == "trainer" and isinstance(value, Mapping):
            for name in value:
                if f"trainer.{str(name).split('.')[0].rstrip('+')}" not in keys:
                    raise UsageError(f"does not accept option 'trainer.{name}'", keys)
            for name in ("callbacks", "callbacks+"):  # the second appends to those of an earlier recipe
                callbacks = value.get(name)
                for i, one in enumerate(callbacks if isinstance(callbacks, list) else []):
                    _check_class(f"trainer.{name}[{i}]", *class_and_values(one), whole=True)
    for key in ("model", "data"):
        _check_class(key, *class_and_values(recipe.get(key)), whole=False)


def _check_class(key: str, path: str, given: Mapping[str, object], whole: bool) -> None:
    """Check the arguments of a class of this package; ``whole`` if a missing one is certain to be missing."""
    if not path:
        return
    found = find_shipped(path)
    if found is None:
        if path.isidentifier() and key == "model":
            names = [name for name in shipped_classes() if name.endswith("Module")]
            advice = "give a class by its import path, package.module.Class, and see that the module can be imported"
            raise ValueError(f"{key}.class_path: there is no class {path}; {suggest(path, names, advice)}")
        return
    _check_values(f"{key}.init_args", found.parameters, given)
    missing = [one.name for one in found.parameters if one.default is None and one.name not in given]
    if whole and missing:
        raise ValueError(f"{key}.init_args.{missing[0]}: it is required but not set; set it in the YAML or as a flag")


def _check_values(key: str, parameters: Sequence[Parameter], given: Mapping[str, object]) -> None:
    known = {one.name: one for one in parameters}
    for name, value in given.items():
        one = known.get(str(name).split(".")[0].rstrip("+"))
        if one is None:
            advice = suggest(str(name), known, f"it has {', '.join(known)}")
            raise ValueError(f"{key}.{name}: there is no such key; {advice}")
        _check_value(f"{key}.{name}", one, value)
        if len(one.settings) == 1 and isinstance(value, Mapping):
            settings = read_class(*one.settings[0])
            if settings is not None and one.kind in (settings.name, f"{settings.name} | None"):
                _check_values(f"{key}.{name}", settings.parameters, value)


def _check_value(key: str, one: Parameter, value: object) -> None:
    """Refuse text where a number is needed, and a text that is none of those to choose from."""
    if not isinstance(value, str):
        return
    choices = yaml.safe_load(one.kind[len("Literal") :]) if one.kind.startswith("Literal[") else None
    if choices is not None and value not in choices:
        raise ValueError(f"{key}: {value} is none of {', '.join(map(str, choices))}; give one of them")
    kind = one.kind.removesuffix(" | None")
    if kind in _NUMBERS and isinstance(_parse_value(value), str):
        ending = " or null" if kind != one.kind else ""
        try:
            float(value)
        except ValueError:
            raise ValueError(f"{key}: needs {_NUMBERS[kind]}{ending}, not {value!r}") from None


def _parse_value(value: str) -> object:
    try:
        return load_yaml(value)
    except yaml.YAMLError:
        return value
