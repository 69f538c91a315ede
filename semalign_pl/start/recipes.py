"""``semalign recipes``: list the recipes that ship with the package, and copy some to a folder of one's own."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from semalign_pl.files.recipes import FOLDER
from semalign_pl.messages.command_parser import CommandParser
from semalign_pl.messages.errors import one_line
from semalign_pl.messages.suggestion import suggest

_LINE = re.compile(r"^\| `([\w./-]+?)/?` \| (.+?) \| (.*?) \| (.*?) \|", re.MULTILINE)


def run(args: Sequence[str]) -> int:
    """Run ``semalign recipes``.

    Args:
        args: Name of the command, then its flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    parser = CommandParser(
        prog="semalign recipes",
        description="List the recipes of the package, or copy some to a folder of your own, to change them there.",
    )
    parser.add_argument("action", nargs="?", choices=("list", "copy"), default="list", help="list (default) or copy")
    parser.add_argument("name", nargs="?", help="recipe or folder of recipes, as listed, e.g. paper or real/sft.yaml")
    parser.add_argument("folder", nargs="?", type=Path, help="folder to copy to; it must not be there, or be empty")
    with one_line(args) as status:
        options = parser.parse_args(list(args[1:]))
        if options.action == "copy":
            if options.name is None or options.folder is None:
                parser.error("copy needs a recipe and a folder, e.g. semalign recipes copy paper my")
            for file in copy(options.name, options.folder):
                print(f"written: {file}")
        elif options.name is not None:
            parser.error(f"list takes no name; to copy, write semalign recipes copy {options.name} FOLDER")
        else:
            print(listing())
    return status.code


def read_table() -> dict[str, tuple[str, str, str]]:
    """Table of the recipes in their README: what each trains, its model, and its hardware."""
    text = (FOLDER / "README.md").read_text(encoding="utf-8")
    return {name: (trains, model, hardware) for name, trains, model, hardware in _LINE.findall(text)}


def listing() -> str:
    """The recipes with what they train, and their files."""
    lines = []
    for name, (trains, model, hardware) in read_table().items():
        lines.append(f"{name}: {trains.replace('`', '')} ({', '.join(filter(None, (model, hardware)))})")
        if (FOLDER / name).is_dir():
            lines += [f"    {file.relative_to(FOLDER).as_posix()}" for file in _files(name) if name != "cards"]
    lines += ["", "semalign recipes copy NAME FOLDER copies one; --config configs/NAME… reads it from the package."]
    return "\n".join(lines)


def _files(name: str) -> list[Path]:
    place = FOLDER / name
    return sorted(place.rglob("*.yaml")) if place.is_dir() else [place]


def copy(name: str, folder: Path) -> list[Path]:
    """Copy a recipe, or a folder of recipes.

    Args:
        name: Recipe or folder, as listed; also with ``configs/`` before it.
        folder: Folder to copy to; it gets the files themselves.

    Returns:
        Files written.

    Raises:
        ValueError: If there is no such recipe, or the folder has files.
    """
    inner = name.removeprefix("configs/").rstrip("/")
    names = [*read_table(), *(file.relative_to(FOLDER).as_posix() for file in FOLDER.rglob("*.yaml"))]
    names += [f"cards/{place.name}" for place in (FOLDER / "cards").iterdir()]
    if inner not in names:
        raise ValueError(f"there is no recipe {name}; {suggest(inner, names, 'semalign recipes lists them')}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(f"{folder} is there already and not an empty folder; name a new one")
    folder.mkdir(parents=True, exist_ok=True)
    place, written = FOLDER / inner, []
    for file in _files(inner):
        target = folder / (file.relative_to(place) if place.is_dir() else file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        written.append(Path(shutil.copyfile(file, target)))
    return written
