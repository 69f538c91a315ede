"""``semalign fit``, ``validate``, ``test`` and ``predict`` up to the point at which torch is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from semalign_pl.messages.errors import one_line
from semalign_pl.start.arguments import flags, read_recipe
from semalign_pl.start.check import refuse_mistakes
from semalign_pl.start.help_page import class_page, command_page, find_place, recipe_page, trainer_page
from semalign_pl.start.keys import find_shipped
from semalign_pl.start.threads import collecting_later


def run(args: Sequence[str]) -> int:
    """Show a help page, refuse a mistake, or run the command.

    Args:
        args: Command and flags.

    Returns:
        Exit status: 0, or 2 after a user's mistake.
    """
    command, given = args[0], list(args[1:])
    with one_line(args) as status:
        page = help_page(command, given)
        if page is None:
            refuse_mistakes(command, given)
    if status.code:
        return status.code
    if page is not None:
        print(page)
        return 0
    with collecting_later():
        from semalign_pl.cli import lightning_cli

    return lightning_cli.run(args)


def help_page(command: str, args: Sequence[str]) -> str | None:
    """Help page that the flags ask for.

    Args:
        command: One of ``keys.COMMANDS``.
        args: Flags, without the command.

    Returns:
        The page; ``None`` if none is asked for, or one of a class that this package does not have.
    """
    for flag, value in zip(args, [*args[1:], ""], strict=False):
        name, equals, after = flag.partition("=")
        if name == "--trainer.help":
            return trainer_page()
        if name.startswith("--") and name.endswith(".help"):
            found = find_shipped(after if equals else value)
            return None if found is None else class_page(found, find_place(found))
    if not {"-h", "--help"} & set(args):
        return None
    recipe: Mapping[str, object] = {}
    for flag, value in flags([arg for arg in args if arg not in ("-h", "--help")]):
        if flag in ("-c", "--config") and value is not None:
            recipe = _merge(recipe, read_recipe(value))
    from semalign_pl.__main__ import COMMANDS

    return recipe_page(command, recipe) if recipe else command_page(command, COMMANDS[command].help)


def _merge(recipe: Mapping[str, object], later: Mapping[str, object]) -> Mapping[str, object]:
    """Recipe with the keys of a later one: sections are merged, unless the later one names another class."""
    before, after = recipe.get("class_path"), later.get("class_path")
    if before and after and before != after:
        return later
    merged = {**recipe, **later}
    for key, value in later.items():
        if isinstance(value, Mapping) and isinstance(earlier := recipe.get(key), Mapping):
            merged[key] = _merge(earlier, value)
    return merged
