"""Imports: a room imports only from rooms that docs/architecture.md lists before it, and nothing imports a test."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import semalign_pl

PACKAGE = Path(semalign_pl.__file__).parent
MAP = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text(encoding="utf-8").split("```")[1]
ROOMS = [re.sub(r"/|\.py", "", name) for name in re.findall(r"^  (\w+(?:/|\.py))", MAP, re.MULTILINE)]


def room(path: Path) -> str:
    """The room of a file: its folder in the package, or itself."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports(tree: ast.Module) -> Iterator[str]:
    """Rooms imported when a module is imported, without those imported inside functions or for type checkers."""
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module == "semalign_pl":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("semalign_pl."):
            yield (node.module or "").split(".")[1]
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("semalign_pl."))


def test_the_map_lists_every_room() -> None:
    rooms = {room(file) for file in PACKAGE.rglob("*.py")} - {"__init__"}
    assert sorted(ROOMS) == sorted(rooms), "draw the map in docs/architecture.md again"


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_imports_only_from_rooms_before_it(name: str) -> None:
    allowed = {*ROOMS[: ROOMS.index(name) + 1], "__version__"}
    files = [file for file in PACKAGE.rglob("*.py") if room(file) == name]
    for file in files:
        for imported in imports(ast.parse(file.read_text(encoding="utf-8"))):
            assert imported in allowed, f"{file.relative_to(PACKAGE)} imports {imported}, which is above {name}"


def test_no_test_is_imported() -> None:
    for file in Path(__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported = [name for name in names if any(word.startswith("test_") for word in name.split("."))]
            assert not imported, f"{file} imports {imported}; move what both need to tests/helpers"
