"""Base class of rewards."""

from __future__ import annotations

import copy
import inspect
import re
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from semalign_pl.rewards.background import run_in_background
from semalign_pl.rewards.return_value import read_return_value
from semalign_pl.types import Example


@contextmanager
def disable_autocast_and_gradients() -> Iterator[None]:
    """Compute in the precision of the weights and without gradients, in this thread only.

    Completions are scored within the training step. Its autocast (``trainer.precision: bf16-mixed``) would round
    scores to bfloat16, so that close scores of completions of one prompt would become equal.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for device in ("cpu", "cuda", "mps"):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


class Reward(Callback, ABC):
    """Callback that scores completions; GRPO adds up the rewards of a run by weight.

    Implement ``score`` in a subclass, and list the class under ``trainer.callbacks``.

    Args:
        weight: Factor in the total reward.

    Attributes:
        gate: True if the reward multiplies the sum of the other rewards instead of adding to it.
        best: Best possible score; ``None`` if there is none. A reward that always gives its best score has no signal,
            but this is no reason for a warning.
        trial: Figures of the reward's model on a sample of the corpus; empty if there was no trial.
        extra_columns: Columns that the last scoring adds to the table of completions, by name.
    """

    gate = False
    best: float | None = None

    def __init__(self, weight: float = 1.0) -> None:
        super().__init__()
        self.weight = weight
        self.trial: dict[str, float | str | None] = {}
        self.extra_columns: dict[str, list[object]] = {}

    @property
    def name(self) -> str:
        """Name in logs: the class name in snake case, without ``Reward``."""
        short = type(self).__name__.removesuffix("Reward") or "Reward"
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).lower()

    @property
    def signature(self) -> str:
        """Every option that changes the score, as ``key:value`` joined by ``|``."""
        return f"reward:{self.name}|{'gate' if self.gate else f'weight:{self.weight:g}'}"

    @abstractmethod
    def score(
        self, *, prompts: list[str], completions: list[str], references: list[str], **columns: list[str]
    ) -> Sequence[float | None] | Tensor:
        """Score completions; all arguments are passed by keyword, as in TRL.

        It is called without gradients and without autocast, so that scores do not depend on ``trainer.precision``.

        Args:
            prompts: User's message of each completion.
            completions: Texts sampled from the policy.
            references: Reference of each completion.
            **columns: Other columns of the corpus, by name.

        Returns:
            One number per completion. ``None`` and NaN mean "not scored", which is not the same as 0. An ``async def``
            method may return it, too: it then runs concurrently with other rewards.
        """

    def __call__(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Tensor:
        """Score completions of examples.

        Args:
            examples: Example of each completion.
            completions: Texts to score.
            completion_ids: Token ids of each completion, for rewards that use them.

        Returns:
            ``(completions,)`` float32 on CPU, NaN where not scored.

        Raises:
            ValueError: If ``score`` does not return one finite number, ``None`` or NaN per completion, or if the
                user's own reward raises an exception.
        """
        return self.start_scoring(examples, completions, completion_ids)()

    def start_scoring(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Callable[[], Tensor]:
        """Start scoring; arguments as in ``__call__``.

        Returns:
            Function that returns the scores. Until it is called, an asynchronous reward runs in the background.
        """
        # Copies: a reward that changes a list in place must not affect logs or other rewards.
        given = {
            **columns_of(examples),
            "prompts": [e.prompt for e in examples],
            "completions": list(completions),
            "references": [e.reference for e in examples],
            **self._extra_arguments(completion_ids),
        }
        try:
            with disable_autocast_and_gradients():
                scores = self.score(**given)
        except Exception as error:
            raise self._explain(error) from error
        pending = run_in_background(scores) if inspect.isawaitable(scores) else None

        @disable_autocast_and_gradients()  # a generator computes its scores when they are read
        def finish() -> Tensor:
            try:
                return self._read_scores(scores if pending is None else pending.result(), completions)
            except Exception as error:
                raise self._explain(error) from error

        return finish

    def rehearse(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Tensor:
        """Score completions outside of training, which the reward's own counters and columns do not show afterwards.

        Arguments and return value are those of ``__call__``.
        """
        return copy.copy(self)(examples, completions, completion_ids)

    def _extra_arguments(self, completion_ids: Sequence[list[int]] | None) -> dict[str, Any]:
        """Additional arguments of ``score``.

        Args:
            completion_ids: Token ids of each completion; ``None`` if not known.
        """
        return {}

    def _read_scores(self, given: object, completions: Sequence[str]) -> Tensor:
        """Convert the return value of ``score`` to ``(completions,)`` float32; see ``read_return_value``.

        Args:
            given: Return value of ``score``.
            completions: Texts that were scored.
        """
        return read_return_value(given, self._error_name, completions)

    @property
    def _error_name(self) -> str:
        """Name of the reward in error messages."""
        return f"{type(self).__name__}.score"

    @property
    def _source_file(self) -> str | None:
        """File of the user's code that scores; ``None`` for this package's rewards, whose errors are not the user's."""
        own = type(self).__module__.split(".")[0] == __name__.split(".")[0]
        return None if own else inspect.getsourcefile(type(self))

    def _explain(self, error: Exception) -> Exception:
        """Convert an exception of the user's code to a one-line error; return an error of this package unchanged."""
        frames = traceback.extract_tb(error.__traceback__)
        package = str(Path(__file__).parents[1])
        if self._source_file is None or (isinstance(error, ValueError) and frames[-1].filename.startswith(package)):
            return error
        frame = next((f for f in reversed(frames) if f.filename == self._source_file), frames[-1])
        where = f"{Path(frame.filename).name}:{frame.lineno}" + (f" `{frame.line}`" if frame.line else "")
        return ValueError(
            f"{self._error_name} raised {type(error).__name__}: {error} ({where}){self._error_hint(error)}"
        )

    def _error_hint(self, error: Exception) -> str:
        """Suggested fix for an error of the user's code, appended to its message; empty if none is known.

        Args:
            error: Exception that the user's code raised.
        """
        return ""


def columns_of(examples: Sequence[Example]) -> dict[str, list[str]]:
    """Columns that all examples have: by name, one value per example.

    Args:
        examples: Examples of one corpus.
    """
    names = set.intersection(*(set(e.columns) for e in examples)) if examples else set()
    return {name: [e.columns[name] for e in examples] for name in sorted(names)}
