"""Parser of jsonargparse's nested report, and the classes and keys that a recipe may have."""

from __future__ import annotations

import ast
import contextlib
import functools
import importlib
import inspect
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path


class Report:
    """Report of jsonargparse, with the command line that caused it.

    Args:
        message: Report of jsonargparse.
        keys: Keys that the parser accepts.
        args: Command line.
        see: Advice on where the keys are listed.

    Attributes:
        message: Report of jsonargparse.
        keys: Keys that the parser accepts.
        args: Command line.
        see: Advice on where the keys are listed.
        outer: Key that the report is about, e.g. ``model``.
        inner: Keys within the outer key, from the nesting of the report.
        given: Value that the user gave for the outer key; ``None`` if the report has none.
    """

    def __init__(self, message: str, keys: Sequence[str], args: Sequence[str], see: str) -> None:
        self.message, self.keys, self.args, self.see = message, keys, args, see
        nested = re.findall(r'Parser key "([^"]+)"', message)
        self.outer, self.inner = (nested[0], nested[1:]) if nested else ("", [])
        text = message.rsplit("Given value: ", 1)
        self.given = _parse(text[1]) if len(text) == 2 else None

    def files(self) -> list[str]:
        """Files named by ``--config``."""
        flags = ("-c", "--config")
        after = [b for a, b in zip(self.args, self.args[1:], strict=False) if a in flags]
        return after + [a.split("=", 1)[1] for a in self.args if a.startswith("--config=")]

    def place(self, key: str) -> str:
        """File and line of a top-level key, in brackets; empty if no file has the key."""
        for file in self.files():
            with contextlib.suppress(OSError, UnicodeDecodeError):
                lines = Path(file).read_text(encoding="utf-8").splitlines()
                pattern = re.compile(rf"""['"]?{re.escape(key)}['"]?\s*:""")
                if found := [number for number, line in enumerate(lines, 1) if pattern.match(line)]:
                    return f" ({file}, line {found[0]})"
        return ""

    def path(self, matches: Callable[[str, object], bool], otherwise: str) -> tuple[str, str | None]:
        """Dotted path of the first entry that matches, and the class that has this entry.

        Args:
            matches: Function of key and value; true for the entry to find.
            otherwise: Key to end the path with if no entry matches.

        Returns:
            Path, and ``class_path`` of the class; ``None`` as class if there is none or no entry matches.
        """
        for path, key, value, around in _walk(self.given, self.outer, None):
            if matches(key, value):
                return path, around
        between = ".init_args" if self.outer in ("model", "data") else ""
        inner = self.inner[:-1] if self.inner[-1:] == [otherwise] else self.inner
        return ".".join([self.outer + between, *inner, otherwise]), None

    def inner_path(self) -> str:
        """Dotted path of the innermost key that the report names."""
        if not self.inner:
            return self.outer
        return self.path(lambda key, _: key == self.inner[-1], self.inner[-1])[0]


def _walk(value: object, path: str, around: str | None) -> Iterator[tuple[str, str, object, str | None]]:
    """All entries of a config: path, key, value, and the ``class_path`` of the class if the entry is an init_arg."""
    if isinstance(value, dict):
        own = value.get("class_path", around if path.endswith("init_args") else None)
        for key, inner in value.items():
            yield f"{path}.{key}", key, inner, around if path.endswith("init_args") else None
            yield from _walk(inner, f"{path}.{key}", own)
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield f"{path}[{i}]", str(i), inner, None
            yield from _walk(inner, f"{path}[{i}]", None)


def _parse(text: str) -> object:
    """Value of a config's repr, with jsonargparse's ``Namespace(…)`` and ``NestedArg(…)`` as dicts."""
    try:
        return _plain(ast.parse(text.strip(), mode="eval").body)
    except (SyntaxError, ValueError):
        return text.strip()


def _plain(node: ast.expr) -> object:
    if isinstance(node, ast.Call):
        values = {k.arg: _plain(k.value) for k in node.keywords if k.arg}
        if getattr(node.func, "id", "") == "NestedArg":
            return functools.reduce(lambda inner, key: {key: inner}, _keys_inside_out(values["key"]), values["val"])
        return values
    if isinstance(node, ast.Dict):
        return {_plain(k): _plain(v) for k, v in zip(node.keys, node.values, strict=True) if k}
    if isinstance(node, ast.List | ast.Tuple):
        return [_plain(item) for item in node.elts]
    return ast.literal_eval(node)


def _keys_inside_out(flag: object) -> list[str]:
    """Keys of a flag such as ``task.init_args.target``, from the innermost to ``init_args`` of the outer class."""
    return [*reversed(str(flag).split(".")), "init_args"]


# -- classes that a config may name ----------------------------------------------------------------------------


def classes() -> dict[str, type]:
    """All classes that a recipe can name, by name."""
    from lightning.pytorch.callbacks import Callback
    from torch.optim import Optimizer
    from torch.optim.lr_scheduler import LRScheduler

    from semalign_pl.data import CorpusDataModule, Task
    from semalign_pl.data.cleaning.preparation import Preparation
    from semalign_pl.modules import StageModule
    from semalign_pl.policy.settings import LoraSettings, VocabularySettings

    waiting: list[type] = [Callback, Optimizer, LRScheduler, CorpusDataModule, Task, StageModule]
    waiting += [LoraSettings, VocabularySettings, Preparation]
    found: dict[str, type] = {}
    while waiting:
        one = waiting.pop()
        if one.__name__ not in found:
            found[one.__name__] = one
            waiting += one.__subclasses__()
    return found


def options(class_path: str | None) -> list[str]:
    """Names of the init_args of a class and its subclasses, and of its bases where it passes on ``**kwargs``.

    Args:
        class_path: Import path of the class, or the name of one of `classes`; ``None`` for no class.

    Returns:
        The names; none if there is no such class.
    """
    if class_path is None:
        return []
    module, _, name = class_path.rpartition(".")
    try:
        one = getattr(importlib.import_module(module), name) if module else classes()[name]
    except (ImportError, AttributeError, KeyError):
        return []
    names: list[str] = []
    for base in (base for kind in _family(one) for base in _sharing_arguments(kind)):
        names += [p.name for p in _parameters(base) if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)]
    return [name for name in dict.fromkeys(names) if name != "params"]  # "params" of an optimiser: the module passes it


def _family(one: type) -> list[type]:
    """A class and its subclasses: for a flag such as ``model.init_args.x``, only their common base is known."""
    return [one, *(heir for child in one.__subclasses__() for heir in _family(child))]


def _sharing_arguments(one: type) -> Iterator[type]:
    """A class and its bases, up to and including the first that does not pass on ``**kwargs``."""
    for base in one.__mro__:
        yield base
        parameters = _parameters(base)
        if parameters and all(p.kind is not p.VAR_KEYWORD for p in parameters):
            return


def _parameters(one: type) -> list[inspect.Parameter]:
    return list(inspect.signature(one).parameters.values()) if "__init__" in vars(one) else []
