"""Find the files that a recipe names, by value and whatever the key, so that settings of user classes are covered."""

from __future__ import annotations

import ast
import glob
import importlib.machinery
import itertools
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

LOCAL = "local:"
"""Beginning of the name of a judge that is a model on this machine; the rest is a folder or a hub model."""
OUTPUT_KEYS = ("default_root_dir", "dirpath", "save_dir", "root_dir", "log_dir", "cache")
"""Last keys of settings that name an output folder. A cache holds only what would be computed again."""


def flatten(value: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield each scalar of nested settings after its dotted key, such as ``trainer.callbacks[0].tau``.

    Args:
        value: Nested mappings and lists, or a scalar; empty mappings and lists count as scalars.
        key: Dotted key of ``value``.
    """
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from flatten(inner, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple) and value:
        for at, inner in enumerate(value):
            yield from flatten(inner, f"{key}[{at}]")
    else:
        yield key, value


def find_files(value: str) -> list[Path]:
    """Return the files that a setting names, sorted, with the labels ``NAME-labels.lst`` beside each.

    Args:
        value: A file, a folder, a pattern such as ``dev/*.csv``, paired files ``train.{zh,bo}``, any of them followed
            by ``#member`` or ``:config@split`` (see ``data.reading.sources.stream``), a judge ``local:FOLDER``, or a
            class or function of the user, such as ``my_rewards.Brevity``.

    Returns:
        Paths of the files; empty if the text names no file.
    """
    if not value or len(value) > 4096 or "\0" in value or "\n" in value:
        return []
    # Try the whole text first, then its beginning: the name of a file may contain # or :.
    beginnings = (value.split("#")[0], re.sub(r"[:@][^/]*$", "", value))
    for name in dict.fromkeys([value, value.removeprefix(LOCAL), *beginnings]):
        if found := [*itertools.chain.from_iterable(map(_existing, _expand(name)))]:
            return sorted({*found, *filter(Path.is_file, map(_labels_of, found))})
    return _source(value)


def holds_results(value: str, folder: Path) -> bool:
    """Return true if a setting names an output: a run's folder, a path in it, a folder around it or the working folder.

    Folders around the working folder count too. The content of such a path changes with every run.

    Args:
        value: Value of the setting.
        folder: Folder of the run.
    """
    try:
        path, run, here = Path(value).resolve(), folder.resolve(), Path.cwd()
    except (OSError, ValueError, RuntimeError):
        return False
    return path in (run, *run.parents, here, *here.parents) or run in path.parents


def _expand(name: str) -> list[str]:
    """Names that a pattern in braces expands to; the name itself if it has no braces."""
    found = re.fullmatch(r"([^{}]*)\{([^{}]*)\}([^{}]*)", name)
    return [f"{found[1]}{item.strip()}{found[3]}" for item in found[2].split(",")] if found else [name]


def _existing(name: str) -> list[Path]:
    try:
        if os.path.lexists(name):
            return _inside(Path(name))
        return [file for match in glob.glob(name) for file in _inside(Path(match))] if glob.has_magic(name) else []
    except (OSError, ValueError, re.error):
        return []


def _labels_of(path: Path) -> Path:
    """File of labels that is read together with a file of questions, as PIQA's authors publish them."""
    return path.with_name(f"{path.name.partition('.')[0]}-labels.lst")


def _inside(path: Path) -> list[Path]:
    """The file itself, or every file below a folder; without pipes and devices, which have no content to compare."""
    if not path.is_dir():
        return [path] if path.is_file() else []
    below = (Path(folder) / name for folder, _, names in os.walk(path) for name in names)
    return [file for file in below if file.is_file()]


def _source(value: str) -> list[Path]:
    """Source files of a class or function: of its module, and of all modules of the user's that this imports.

    Modules are searched in the working folder and on ``sys.path``, without importing them. Files of an installed
    package are left out.
    """
    if not re.fullmatch(r"[^\W\d]\w*(\.[^\W\d]\w*)+", value):
        return []
    found: dict[Path, None] = {}
    waiting = [value]
    while waiting:
        for file, package in _modules(waiting.pop()):
            if file not in found:
                found[file] = None
                waiting += _imports(file, package)
    return [file.relative_to(Path.cwd()) if Path.cwd() in file.parents else file for file in found]


def _modules(name: str) -> Iterator[tuple[Path, str]]:
    """Each source file that importing a dotted name runs, the packages' own included, and the package it is in."""
    places, package = [os.getcwd(), *sys.path], ""
    for module in name.split("."):
        spec = importlib.machinery.PathFinder.find_spec(module, places)
        if spec is None:
            return
        places = list(spec.submodule_search_locations or [])
        package = ".".join(filter(None, [package, module])) if places else package
        if spec.origin is not None and Path(spec.origin).is_file():
            if _is_installed(Path(spec.origin)):
                return
            yield Path(spec.origin), package
        if not places:
            return


def _imports(file: Path, package: str) -> Iterator[str]:
    """Dotted names that a source file imports; a name may be that of an object in a module."""
    try:
        nodes = list(ast.walk(ast.parse(file.read_bytes())))
    except (OSError, SyntaxError, ValueError, RecursionError):  # no Python, or none that can be run
        return
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: -(node.level - 1) or None] if node.level else []
            module = [*above, *filter(None, [node.module])]
            yield from (".".join([*module, alias.name]) for alias in node.names)


def _is_installed(file: Path) -> bool:
    return not _installed_folders().isdisjoint(file.resolve().parents)


@cache
def _installed_folders() -> frozenset[Path]:
    """Folders of the standard library, of installed packages and of this one."""
    standard = sysconfig.get_paths()
    paths = [standard[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    paths += [*site.getsitepackages(), str(Path(__file__).parents[1])]
    return frozenset(Path(path).resolve() for path in paths)
