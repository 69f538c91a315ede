"""Parser of recipes and flags: one-line errors, limits on files, and schedules whose length may be left out."""

from __future__ import annotations

import inspect
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn

import yaml
from jsonargparse import (
    Namespace,
    get_loader,  # pyright: ignore[reportPrivateImportUsage]
    set_loader,  # pyright: ignore[reportPrivateImportUsage]
    set_parsing_settings,
)
from lightning.pytorch.cli import LightningArgumentParser
from torch.optim.lr_scheduler import ChainedScheduler, LRScheduler, SequentialLR

from semalign_pl.files.documents import check_text, check_yaml
from semalign_pl.messages.errors import UsageError
from semalign_pl.modules.schedule import STEP_NAMES


class Parser(LightningArgumentParser):
    """Parser that raises an error instead of printing a page of usage."""

    _filled = False
    """True if the parser of the command has just filled in the defaults of its settings."""

    def parse_args(
        self,
        args: Sequence[str] | None = None,
        namespace: Namespace | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **kwargs: Any,
    ) -> Namespace:
        """Parse flags."""
        self._filled = False
        parsed = super().parse_args(args, namespace, env, defaults, **kwargs)
        if parent := getattr(self, "parent_parser", None):
            parent._filled = True
        return parsed

    def _parse_common(self, cfg: Namespace, env: bool | None, defaults: bool, *args: Any, **kwargs: Any) -> Namespace:
        """Check parsed settings; the defaults of a command are not filled in again, which takes a third of the time."""
        defaults = defaults and not self._filled
        self._filled = False
        return super()._parse_common(cfg, env, defaults, *args, **kwargs)

    def parse_path(
        self,
        path: str | os.PathLike[str],
        ext_vars: dict[str, object] | None = None,
        env: bool | None = None,
        defaults: bool = True,
        **kwargs: object,
    ) -> Namespace:
        """Parse a local file.

        Raises:
            ValueError: If it is a URL, too large for a config, or not text.
        """
        if "://" in str(path):
            raise ValueError(f"--config: {path} is a URL, and only local files are read; download it and give its path")
        check_text(Path(path), f"--config: {path}")
        return super().parse_path(path, ext_vars, env, defaults, **kwargs)

    def add_class_arguments(
        self,
        class_type: type,
        nested_key: str | None = None,
        as_group: bool = True,
        as_positional: bool = False,
        default: dict[str, object] | Namespace | type | None = None,
        skip: set[str | int] | None = None,
        instantiate: bool = True,
        fail_untyped: bool | Literal["all"] = True,
        sub_configs: bool = False,
        **kwargs: object,
    ) -> list[str]:
        """Add a class's arguments; a schedule's number of steps may be left out."""
        check_schedule(class_type)
        names = step_count_names(class_type)
        skip = {*skip, *names} if skip else set(names)
        options = (nested_key, as_group, as_positional, default, skip, instantiate, fail_untyped, sub_configs)
        added = super().add_class_arguments(class_type, *options, **kwargs)
        for name in names:
            self.add_argument(f"--{name}", type=int | None, help="Number of steps (default: those of the run).")
        return [*added, *names]

    def add_function_arguments(
        self,
        function: Callable[..., object],
        nested_key: str | None = None,
        as_group: bool = True,
        as_positional: bool = False,
        skip: set[str | int] | None = None,
        fail_untyped: bool | Literal["all"] = True,
        sub_configs: bool = False,
    ) -> list[str]:
        """Add a function's arguments; a function that makes a schedule is refused."""
        check_schedule(function)
        options = (nested_key, as_group, as_positional, skip, fail_untyped, sub_configs)
        return super().add_function_arguments(function, *options)

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise a ``UsageError`` with the message."""
        keys = [action.dest for parser in (self, *_subparsers(self)) for action in parser._actions]
        raise UsageError(message, dict.fromkeys(keys)) from ex


def step_count_names(kind: type) -> list[str]:
    """Parameters of a schedule's class that mean its number of steps; none for any other class.

    jsonargparse fills in defaults, such as PolynomialLR's ``total_iters: 5``, and they could not be told from a value
    that the user gave. So the parser has null as default of these parameters, required or not.

    Args:
        kind: Class that a YAML names.

    >>> from torch.optim.lr_scheduler import CosineAnnealingLR
    >>> step_count_names(CosineAnnealingLR)
    ['T_max']
    """
    if not issubclass(kind, LRScheduler):
        return []
    return [name for name in STEP_NAMES if name in inspect.signature(kind).parameters]


def check_schedule(kind: type | Callable[..., object]) -> None:
    """Refuse a schedule that cannot be described in YAML.

    Args:
        kind: Class or function that a YAML names, for a schedule or anything else.

    Raises:
        ValueError: If it joins other schedules, or is a function; with the remedy.
    """
    name = f"{kind.__module__}.{kind.__name__}"
    if isinstance(kind, type) and issubclass(kind, ChainedScheduler | SequentialLR):
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} joins schedules that were built on the optimiser before, which no "
            "YAML can give; use Cosine or Constant with warmup_steps, or derive a class from it that builds them"
        )
    if not isinstance(kind, type) and next(iter(inspect.signature(kind).parameters), None) == "optimizer":
        raise ValueError(
            f"model.init_args.lr_scheduler: {name} is a function, and keys can only be given to a class derived from "
            "torch.optim.lr_scheduler.LRScheduler; use Cosine or Constant with warmup_steps, or one of torch's"
        )


_load_yaml = get_loader("yaml")


def _load_checked_yaml(text: str) -> object:
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
