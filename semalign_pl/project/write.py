"""Write the folder of a project: rows, general text, recipes and a README, all of it or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path

import yaml

from semalign_pl.files.atomic import move_folder, temporary_folder, write_text

RECIPES = ("embedder.yaml", "cold_start.yaml", "sft.yaml", "grpo.yaml", "keep.yaml", "study.yaml")
_COMMENT = re.compile(r"^(?!#)(.*?\S) +(# .*)$", re.MULTILINE)
_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")


def write_project(
    folder: Path,
    rows: Mapping[str, Iterable[Mapping[str, str]]],
    dropped: str,
    texts: Mapping[str, Iterable[str]],
    replay: Iterable[Mapping[str, str]],
    values: Mapping[str, object],
) -> None:
    """Write a project to a new folder.

    Args:
        folder: Folder to write.
        rows: Rows of each split, by its name.
        dropped: Lines of JSON of the dropped rows.
        texts: Lines of the files of general text, by name without suffix.
        replay: Rows of prompt and completion; no file is written without any.
        values: Variables of the templates.

    Raises:
        WriteError: If the folder cannot be written; nothing is left of it.
    """
    with temporary_folder(folder.absolute().parent, folder) as beside:
        made = beside / "project"
        for split, listed in rows.items():
            write_text(made / "data" / f"{split}.jsonl", _json_lines(listed))
        write_text(made / "data" / "dropped.jsonl", dropped)
        for name, lines in texts.items():
            write_text(made / "general" / f"{name}.txt", "".join(f"{line}\n" for line in lines))
        if text := _json_lines(replay):
            write_text(made / "general" / "replay.jsonl", text)
        for name in (*RECIPES, "README.md"):
            write_text(made / name, render(name, values))
        move_folder(made, folder)


def render(name: str, values: Mapping[str, object]) -> str:
    """Text of a recipe, or of the README.

    Args:
        name: Name of the file.
        values: Variables of the templates, all that they use.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    room = files("semalign_pl.project") / "templates"
    loader = FunctionLoader(lambda file: room.joinpath(file).read_text(encoding="utf-8"))
    # Recipes are YAML and Markdown, not HTML: texts of the user are quoted by the filter `scalar`.
    environment = Environment(  # noqa: S701
        loader=loader, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters["scalar"] = scalar
    text = environment.get_template(f"{name}.jinja").render(values)
    text = text.strip("\n") + "\n"
    return _COMMENT.sub(lambda line: f"{line[1]:<37} {line[2]}", text) if name.endswith(".yaml") else text


def scalar(text: str) -> str:
    """YAML scalar of a text, in quotes unless it is plain.

    Args:
        text: Text, such as a path.
    """
    plain = _PLAIN.fullmatch(text) and yaml.safe_load(text) == text  # `no` is false, and `on` is true
    return text if plain else json.dumps(text, ensure_ascii=False).replace(" #", " \\u0023")


def _json_lines(rows: Iterable[Mapping[str, str]]) -> str:
    return "".join(json.dumps(dict(row), ensure_ascii=False) + "\n" for row in rows)
