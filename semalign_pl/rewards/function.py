"""What people have already: TRL's reward functions."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from semalign_pl.rewards.base import Reward


class FunctionReward(Reward):
    """Any function with TRL's signature, ``fn(prompts, completions, **columns) -> list[float | None]``.

    It is called by keyword with what its signature asks for: prompts and completions as plain strings, references as
    ``references``, and the corpus's columns by name.

    Args:
        function: Import path, e.g. ``my_rewards.brevity``; modules are looked for where you run from, too.
        weight: Factor in the total reward.
    """

    def __init__(self, function: str, weight: float = 1.0) -> None:
        super().__init__(weight)
        self.function = function
        self._call = _imported(function)
        parameters = inspect.signature(self._call).parameters.values()
        self._takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._wanted = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        self._needed = [p.name for p in parameters if p.name in self._wanted and p.default is p.empty]

    @property
    def name(self) -> str:
        """The function's."""
        return self.function.rsplit(".", 1)[-1]

    @property
    def signature(self) -> str:
        """Every option that changes the score; what the function does is its author's to record."""
        return f"{super().signature}|function:{self.function}"

    def score(self, **columns: Any) -> Sequence[float | None]:
        """What the function returns.

        Raises:
            ValueError: If it asks for a column that the corpus does not have.
        """
        missing = [name for name in self._needed if name not in columns]
        if missing:
            raise ValueError(
                f"FunctionReward.function: {self.function} asks for {missing[0]!r}, which no column of the corpus is "
                f"called; there are {', '.join(columns)}. Map it under data.init_args.columns, or give it a default"
            )
        given = columns if self._takes_all else {name: columns[name] for name in self._wanted if name in columns}
        return self._call(**given)


def _imported(path: str) -> Callable[..., Any]:
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"FunctionReward.function: cannot import {path!r} ({error}); give module.function, with the module in "
            "the folder you run from, installed, or on PYTHONPATH"
        ) from error
    if not callable(found):
        raise ValueError(f"FunctionReward.function: {path} is not a function but a {type(found).__name__}")
    return found
