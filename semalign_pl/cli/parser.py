"""Parser of recipes and flags: one-line errors, limits on files, and schedules whose length may be left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from jsonargparse import (
    get_loader,  # pyright: ignore[reportPrivateImportUsage]
    set_loader,  # pyright: ignore[reportPrivateImportUsage]
    set_parsing_settings,
)
from lightning.pytorch.cli import LightningArgumentParser

from semalign_pl.cli.schedule_arguments import check_schedule, step_count_names
from semalign_pl.files.documents import check_text, check_yaml
from semalign_pl.messages.errors import UsageError


class Parser(LightningArgumentParser):
    """Parser that raises an error instead of printing a page of usage."""

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Parse a local file.

        Raises:
            ValueError: If it is a URL, too large for a config, or not text.
        """
        if "://" in str(path):
            raise ValueError(f"--config: {path} is a URL, and only local files are read; download it and give its path")
        check_text(Path(path), f"--config: {path}")
        return super().parse_path(path, *args, **kwargs)

    def add_class_arguments(self, theclass: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Add a class's arguments; a schedule's number of steps may be left out."""
        check_schedule(theclass)
        names = step_count_names(theclass)
        if not names:
            return super().add_class_arguments(theclass, *args, **kwargs)
        kwargs["skip"] = {*kwargs.get("skip", ()), *names}
        added = super().add_class_arguments(theclass, *args, **kwargs)
        for name in names:
            self.add_argument(f"--{name}", type=int | None, help="Steps; the run's own where it is left out.")
        return [*added, *names]

    def add_function_arguments(self, function: Any, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """Add a function's arguments; a function that makes a schedule is refused."""
        check_schedule(function)
        return super().add_function_arguments(function, *args, **kwargs)

    def error(self, message: str, ex: Exception | None = None) -> None:  # type: ignore[override]
        """Raise a ``UsageError`` with the message."""
        keys = [action.dest for parser in (self, *_subparsers(self)) for action in parser._actions]
        raise UsageError(message, dict.fromkeys(keys)) from ex


_load_yaml = get_loader("yaml")


def _load_checked_yaml(text: str) -> Any:
    """Load YAML for jsonargparse, from files and flags, by its own rules and within the limits of `check_yaml`."""
    check_yaml(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    try:
        return _load_yaml(text)
    except ValueError as error:  # a number of 5,000 digits
        raise yaml.YAMLError(str(error)) from error


set_loader("yaml", _load_checked_yaml, (yaml.YAMLError,))
# Lightning accepts a URL as --config. A recipe names the code that a run imports, so it must be a local file.
set_parsing_settings(config_read_mode_fsspec_enabled=False, config_read_mode_urls_enabled=False)


def _subparsers(parser: LightningArgumentParser) -> list[LightningArgumentParser]:
    choices = [action.choices for action in parser._actions if isinstance(action.choices, dict)]
    return [sub for named in choices for sub in named.values()]
