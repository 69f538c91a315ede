"""Command lines and recipes as the parser reads them, without torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import yaml

from semalign_pl.files.documents import check_text, load_yaml
from semalign_pl.messages.errors import UsageError

_VALUELESS = ("--resume", "--print_config", "-h", "--help")
_CORPORA = (".jsonl", ".csv", ".tsv", ".xlsx", ".parquet", ".tmx", ".txt")


def flags(args: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Flags with their values, as the parser pairs them.

    Args:
        args: Flags, without the command.

    Yields:
        Flag and value; ``None`` for a flag that takes none. A text that belongs to no flag has itself as flag.

    Raises:
        UsageError: If a flag lacks its value.
    """
    waiting = list(args)
    while waiting:
        flag, equals, value = waiting.pop(0).partition("=")
        if not flag.startswith("-"):
            yield flag + equals + value, None
        elif flag[:2] != "--" and len(flag) > 2:
            raise UsageError(f"{flag}: a flag begins with two dashes; write -{flag}")
        elif equals:
            yield flag, value
        elif flag.startswith(_VALUELESS) or flag.endswith(".help"):
            yield flag, None
            if flag.endswith(".help") and waiting and not waiting[0].startswith("-"):
                waiting.pop(0)
        elif not waiting or waiting[0].startswith("--"):
            raise UsageError(f"argument {flag}: expected one argument")
        else:
            yield flag, waiting.pop(0)


def read_recipe(path: str) -> dict[str, object]:
    """Read a recipe, and refuse one that is not readable.

    Args:
        path: Value of ``--config``.

    Returns:
        Its content.

    Raises:
        ValueError: If it is no local text file.
        UsageError: If it is not YAML, or has no keys.
    """
    if Path(path).suffix in _CORPORA:
        raise ValueError(
            f"--config: {path} is a corpus, and a recipe is needed; give a YAML file, and name the corpus with "
            f"--data.init_args.train {path}"
        )
    if "://" in path:
        raise ValueError(f"--config: {path} is a URL, and only local files are read; download it and give its path")
    if not Path(path).exists():
        raise ValueError(f"--config: there is no file {path}; check the path, it is relative to the working folder")
    if not Path(path).is_file():
        raise ValueError(f"--config: {path} is not a file; give the YAML file in it")
    if Path(path).name == "study.yaml":
        raise ValueError(f"--config: {path} lists systems; semalign study --config {Path(path).parent} trains them")
    check_text(Path(path), f"--config: {path}")
    text = Path(path).read_text(encoding="utf-8")
    try:
        content = load_yaml(text)
    except yaml.YAMLError as error:
        raise UsageError(f"Problems parsing config: {error}") from error
    if not isinstance(content, dict):
        raise UsageError(f"Unexpected config: {text.strip()}")
    return content


def class_and_values(value: object) -> tuple[str, Mapping[str, object]]:
    """Class path and init_args of an entry of a recipe; empty if it has none.

    Args:
        value: ``{class_path, init_args}``, or the class path alone.
    """
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping):
        return "", {}
    given = value.get("init_args")
    return str(value.get("class_path") or ""), given if isinstance(given, Mapping) else {}
