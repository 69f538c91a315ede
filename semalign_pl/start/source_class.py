"""Classes as their source files describe them, without importing them, which would take seconds."""

from __future__ import annotations

import ast
import importlib.util
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeAlias

import docstring_parser

PACKAGE = __name__.split(".")[0]
_Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Parameter:
    """One argument of a class.

    Attributes:
        name: Name, which is also the key in YAML.
        kind: Type, as Python writes it, with aliases of literals spelt out.
        default: Default, as YAML writes it; ``None`` if the argument is required.
        help: Description in the docstring; empty if there is none.
        owner: Name of the class that describes it.
        settings: Dataclasses of this package that the type names; each is (module, name).
    """

    name: str
    kind: str
    default: str | None
    help: str
    owner: str
    settings: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class SourceClass:
    """A class, as its source describes it.

    Attributes:
        name: Name of the class.
        module: Module that defines it.
        summary: First sentence of its docstring.
        text: The rest of the docstring's description.
        bases: Names of its base classes and of theirs, nearest first, as far as they are in this package.
        parameters: Arguments of the class, and those of the bases that it passes ``**kwargs`` on to.
    """

    name: str
    module: str
    summary: str
    text: str
    bases: tuple[str, ...]
    parameters: tuple[Parameter, ...]


def module_file(module: str) -> Path | None:
    """Find the file of a module, without importing it or its packages.

    Args:
        module: Dotted name.

    Returns:
        Its file; ``None`` if there is none.
    """
    top, *inner = module.split(".")
    spec = importlib.util.find_spec(top)
    if spec is None or spec.submodule_search_locations is None:
        return None
    for folder in spec.submodule_search_locations:
        place = Path(folder, *inner)
        for file in (place / "__init__.py", place.with_name(place.name + ".py")):
            if file.is_file():
                return file
    return None


@cache
def _tree(module: str) -> ast.Module | None:
    file = module_file(module)
    return None if file is None else ast.parse(file.read_text(encoding="utf-8"))


@cache
def find(module: str, name: str) -> tuple[str, ast.stmt] | None:
    """Find the statement that defines a name, through the imports of this package.

    Args:
        module: Module that has the name.
        name: Name of a class or constant.

    Returns:
        Defining module and statement; ``None`` if it is not found there.
    """
    tree = _tree(module)
    for node in [] if tree is None else tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return module, node
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            return module, node
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == name:
            return module, node
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == PACKAGE:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    return find(str(node.module), alias.name)
    return None


def read_class(module: str, name: str) -> SourceClass | None:
    """Read a class and the bases that it passes arguments on to.

    Args:
        module: Module that defines or imports the class.
        name: Name of the class.

    Returns:
        Its description; ``None`` if there is no such class.
    """
    found = find(module, name)
    if found is None:
        return None
    module, node = found
    if not isinstance(node, ast.ClassDef):
        return None
    described = docstring_parser.parse(ast.get_docstring(node) or "", docstring_parser.DocstringStyle.GOOGLE)
    bases = [base for base in (read_class(module, ast.unparse(b)) for b in node.bases) if base is not None]
    own, passes_on = _own_parameters(module, node)
    inherited = [p for base in bases for p in base.parameters if p.name not in {one.name for one in own}]
    lineage = [name for base in bases for name in (base.name, *base.bases)]
    return SourceClass(
        name=node.name,
        module=module,
        summary=" ".join((described.short_description or "").split()),
        text=described.long_description or "",
        bases=tuple(dict.fromkeys(lineage)),
        parameters=(*own, *(inherited if passes_on else ())),
    )


def _own_parameters(module: str, node: ast.ClassDef) -> tuple[list[Parameter], bool]:
    """Arguments that a class itself names, and whether it passes others on to its bases."""
    inits = [item for item in node.body if isinstance(item, ast.FunctionDef) and item.name == "__init__"]
    helps = _helps(node) | (_helps(inits[0]) if inits else {})
    if inits:
        arguments = inits[0].args
        pairs = _with_defaults(arguments)
        passes_on = arguments.kwarg is not None
    else:
        fields = [
            item for item in node.body if isinstance(item, ast.AnnAssign) and "ClassVar" not in _text(item.annotation)
        ]
        plain = _is_dataclass(node) or "TypedDict" in map(_text, node.bases)
        pairs = [(item.target.id, item.annotation, item.value) for item in fields if isinstance(item.target, ast.Name)]
        pairs, passes_on = (pairs, True) if plain else ([], True)
    own = [
        Parameter(
            name=name,
            kind=_kind(module, annotation),
            default=None if default is None else _yaml(module, default),
            help=" ".join(helps.get(name, "").split()),
            owner=node.name,
            settings=tuple(_settings(module, annotation)),
        )
        for name, annotation, default in pairs
    ]
    return own, passes_on


def _text(node: ast.AST) -> str:
    return ast.unparse(node)


def _is_dataclass(node: ast.ClassDef) -> bool:
    return any("dataclass" in _text(decorator) for decorator in node.decorator_list)


def _helps(node: ast.ClassDef | _Function) -> dict[str, str]:
    parsed = docstring_parser.parse(ast.get_docstring(node) or "", docstring_parser.DocstringStyle.GOOGLE)
    attributes_first = sorted(parsed.params, key=lambda one: one.args[0] != "attribute")
    return {one.arg_name: one.description or "" for one in attributes_first}  # of both, the argument's text counts


def _with_defaults(arguments: ast.arguments) -> list[tuple[str, ast.expr | None, ast.expr | None]]:
    named = [*arguments.posonlyargs, *arguments.args][1:]
    defaults = [None] * (len(named) - len(arguments.defaults)) + [*arguments.defaults]
    pairs = [(arg.arg, arg.annotation, default) for arg, default in zip(named, defaults, strict=True)]
    return pairs + [
        (arg.arg, arg.annotation, default)
        for arg, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    ]


def _names(node: ast.expr | None) -> list[str]:
    return [] if node is None else [one.id for one in ast.walk(node) if isinstance(one, ast.Name)]


def _kind(module: str, annotation: ast.expr | None) -> str:
    """Type as text, in which names of literals are spelt out."""
    if annotation is None:
        return ""
    text = _text(annotation).strip("'\"")
    for name in _names(annotation):
        found = find(module, name)
        value = getattr(found[1], "value", None) if found else None
        if value is not None and _text(value).startswith("Literal["):
            text = re.sub(rf"\b{name}\b", _text(value), text)
    return text


def _settings(module: str, annotation: ast.expr | None) -> list[tuple[str, str]]:
    """Dataclasses of this package that a type names."""
    found = [find(module, name) for name in _names(annotation)]
    return [
        (place, node.name)
        for place, node in filter(None, found)
        if isinstance(node, ast.ClassDef) and _is_dataclass(node)
    ]


def _yaml(module: str, default: ast.expr) -> str:
    """Default as YAML writes it; calls and classes without the arguments that the program fills in."""
    if isinstance(default, ast.Constant):
        value = default.value
        if value is None or isinstance(value, bool):
            return {None: "null", True: "true", False: "false"}[value]
        return str(value) or '""'
    if isinstance(default, ast.Lambda):
        return _text(default.body).replace("(p, ", "(").replace("(p)", "")
    if isinstance(default, ast.Name) and (found := find(module, default.id)):
        value = getattr(found[1], "value", None)
        if isinstance(value, ast.Call) and _text(value.func) == "lazy_instance":
            return _text(value.args[0])
        if isinstance(value, ast.Constant):
            return _yaml(found[0], value)
    factory = re.fullmatch(r"field\(default_factory=(list|dict)\)", _text(default))
    return {"list": "[]", "dict": "{}"}[factory[1]] if factory else _text(default)


@cache
def shipped_classes() -> dict[str, str]:
    """Module of every class of this package that has a public name, found without reading the code as Python.

    Of classes with the same name the first in the order of files counts.
    """
    package = module_file(PACKAGE)
    assert package is not None, "the package itself is installed"
    found: dict[str, str] = {}
    for file in sorted(package.parent.rglob("*.py")):
        for name in re.findall(r"^class ([A-Z]\w*)", file.read_text(encoding="utf-8"), re.MULTILINE):
            inner = file.relative_to(package.parent).with_suffix("").parts
            found.setdefault(name, ".".join((PACKAGE, *(name for name in inner if name != "__init__"))))
    return found
