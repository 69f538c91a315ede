"""Rewards from functions with TRL's signature."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, SupportsFloat

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from semalign_pl.data.examples import Examples
from semalign_pl.rewards.base import Reward
from semalign_pl.rewards.calibration import training_examples
from semalign_pl.rewards.return_value import first_nan
from semalign_pl.run.trainer import count_steps
from semalign_pl.types import Example

if TYPE_CHECKING:
    from transformers.trainer_callback import TrainerState

log = logging.getLogger(__name__)


class FunctionReward(Reward):
    """Score of a function with TRL's signature, ``fn(prompts, completions, **columns) -> list[float | None]``.

    The function is called with the keyword arguments that its signature names: prompts and completions, references as
    ``references``, and the columns of the corpus by name (``None`` for rows of a mix whose corpus lacks the column). In
    training it can also have what TRL provides: ``completion_ids``, ``trainer_state``, ``log_metric`` (logs a number as
    ``train/NAME/METRIC``) and ``log_extra`` (adds a column to ``completions.jsonl``). ``async def`` functions run
    concurrently with other rewards.

    Args:
        function: Import path of a function, method or callable object, e.g. ``my_rewards.brevity`` or
            ``my_rewards.Judge.score``; modules in the working folder are found, too.
        weight: Factor in the total reward.
        format: Format of prompts and completions: `plain` strings, or lists of messages as TRL gives them for
            `conversational` data, so that a completion's text is ``completion[0]["content"]``.
    """

    def __init__(
        self, function: str, weight: float = 1.0, format: Literal["plain", "conversational"] = "plain"
    ) -> None:
        super().__init__(weight)
        self.function, self.format = function, format
        self._call = _import_callable(function)
        try:
            parameters = list(inspect.signature(self._call).parameters.values())
        except (TypeError, ValueError):  # a builtin without a signature
            parameters = [inspect.Parameter("all", inspect.Parameter.VAR_KEYWORD)]
        self._takes_all = any(p.kind is p.VAR_KEYWORD for p in parameters)
        self._wanted = [p.name for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        self._needed = [p.name for p in parameters if p.name in self._wanted and p.default is p.empty]
        self._trainer: Trainer | None = None
        self._columns: frozenset[str] = frozenset()
        self._metrics: dict[str, list[float]] = {}
        self._warned = False

    @property
    def name(self) -> str:
        """Name of the function."""
        return self.function.rsplit(".", 1)[-1]

    @property
    def signature(self) -> str:
        """Every option that changes the score; the version of the function's code is not included."""
        chat = "" if self.format == "plain" else f"|format:{self.format}"
        return f"{super().signature}|function:{self.function}{chat}"

    @property
    def _error_name(self) -> str:
        """Name of the reward in error messages."""
        return f"FunctionReward.function: {self.function}"

    @property
    def _source_file(self) -> str | None:
        """File that defines the function; empty if there is none."""
        inner = self._call
        while isinstance(inner, functools.partial):
            inner = inner.func
        for candidate in (inspect.unwrap(inner), type(inner)):
            try:
                return inspect.getsourcefile(candidate) or ""
            except TypeError:
                continue
        return ""

    # -- a run -------------------------------------------------------------------------------------------------

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Keep the trainer, for ``trainer_state``."""
        if stage == "fit":
            self._trainer = trainer

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Log the step's mean of each value that the function gave to ``log_metric``, on rank 0 only."""
        for name, values in self._metrics.items():
            pl_module.log(f"train/{self.name}/{name}", fmean(values), batch_size=1, rank_zero_only=True)
        self._metrics = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Collect the columns of all corpora of a mix."""
        examples = training_examples(trainer)
        self._columns = examples.columns if isinstance(examples, Examples) else frozenset()

    def start_scoring(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Callable[[], Tensor]:
        """Start scoring; a column that a row's corpus lacks is ``None`` for this row, as in TRL.

        Without these values, the columns that the function gets would depend on the other rows of the batch.
        """
        names = self._columns.union(*(example.columns for example in examples))
        filled = [replace(example, columns={**dict.fromkeys(names), **example.columns}) for example in examples]
        return super().start_scoring(filled, completions, completion_ids)

    def _extra_arguments(self, completion_ids: Sequence[list[int]] | None) -> dict[str, Any]:
        """Arguments that TRL passes in addition to columns, as far as they are known."""
        self.extra_columns = {}
        given: dict[str, Any] = {}
        if completion_ids is not None:
            given["completion_ids"] = [list(ids) for ids in completion_ids]
        if self._trainer is not None:
            given |= {
                "trainer_state": _state(self._trainer),
                "log_metric": self._log_metric,
                "log_extra": lambda column, values: self.extra_columns.update({column: list(values)}),
            }
        return given

    def _log_metric(self, name: str, value: SupportsFloat) -> None:
        try:
            # A new dict: a rehearsal, which is a copy of this reward, must not change the values of this one.
            self._metrics = {**self._metrics, name: [*self._metrics.get(name, []), float(value)]}
        except (TypeError, ValueError, RuntimeError):
            raise ValueError(
                f"{self._error_name} gave log_metric {value!r} ({type(value).__name__}) for {name!r}; give a number"
            ) from None

    # -- scores ------------------------------------------------------------------------------------------------

    def score(self, **columns: Any) -> Any:
        """Call the function.

        Raises:
            ValueError: If the function requires an argument that is not a column of the corpus, or is a method without
                its object.
        """
        missing = [name for name in self._needed if name not in columns]
        if missing[:1] == ["self"]:
            raise ValueError(
                f"FunctionReward.function: {self.function} is a method without its object; make it a staticmethod, or "
                "give the path of an object's method"
            )
        if missing:
            raise ValueError(
                f"FunctionReward.function: {self.function} asks for {missing[0]!r}, which no column of the corpus is "
                f"called; there are {', '.join(columns)}. Map it under data.init_args.columns, or give it a default"
            )
        if self.format == "conversational":
            for name, role in (("prompts", "user"), ("completions", "assistant")):
                columns[name] = [[{"role": role, "content": text}] for text in columns[name]]
        given = columns if self._takes_all else {name: columns[name] for name in self._wanted if name in columns}
        return self._call(**given)

    def _read_scores(self, given: object, completions: Sequence[str]) -> Tensor:
        """Convert the scores; warn once about NaN, because ``None`` is the intended value for "not scored".

        Raises:
            ValueError: As in ``read_return_value``, or if a ``log_extra`` column lacks a value per completion.
        """
        scores = super()._read_scores(given, completions)
        for column, values in self.extra_columns.items():
            if len(values) != len(completions):
                raise ValueError(
                    f"{self._error_name} gave log_extra {len(values)} values of {column!r} for {len(completions)} "
                    "completions; give one per completion"
                )
        place = first_nan(given)
        if place is not None and not self._warned:
            self._warned = True
            log.warning(
                "%s returned NaN for the completion %r; it counts as not scored, as None does", self._error_name,
                completions[place][:60],
            )  # fmt: skip
        return scores

    def _error_hint(self, error: Exception) -> str:
        """Suggest the other ``format`` if the function seems to expect it."""
        if self.format == "plain" and isinstance(error, TypeError) and "string ind" in str(error):
            return "; if it is written for conversational data, set FunctionReward.format: conversational"
        # The errors of Python 3.10's `re` say "expected string or bytes-like object" without naming the list.
        a_list = any(words in str(error) for words in ("list", "expected string or bytes-like object"))
        if self.format == "conversational" and isinstance(error, TypeError | AttributeError) and a_list:
            return "; if it is written for plain text, set FunctionReward.format: plain"
        return ""


def _state(trainer: Trainer) -> TrainerState:
    """State of the run as the ``TrainerState`` of transformers."""
    from transformers.trainer_callback import TrainerState

    epochs = trainer.max_epochs if trainer.max_epochs is not None and trainer.max_epochs > 0 else 0
    batches = trainer.num_training_batches
    steps = count_steps(trainer, trainer.lightning_module) or 0
    epoch = trainer.current_epoch + (trainer.fit_loop.epoch_loop.batch_progress.current.completed / batches)
    return TrainerState(global_step=trainer.global_step, max_steps=steps, num_train_epochs=epochs, epoch=epoch)


def _import_callable(path: str) -> Callable[..., Any]:
    """Import the callable at a path: an attribute of a module, or of a class or object in it."""
    try:
        attribute = _find_attribute(path)
    except Exception as error:  # the user's module may raise anything when it is imported
        raise ValueError(
            f"FunctionReward.function: cannot import {path!r} ({type(error).__name__}: {error}); give module.function, "
            "with the module in the folder you run from, installed, or on PYTHONPATH"
        ) from error
    if inspect.isclass(attribute):
        raise ValueError(
            f"FunctionReward.function: {path} is not a function but a class; give one of its static methods, or an "
            "instance of it in the module"
        )
    if not callable(attribute):
        raise ValueError(
            f"FunctionReward.function: {path} is not a function but a {type(attribute).__name__}; name a "
            "function, a method or a callable object"
        )
    return attribute


def _find_attribute(path: str) -> object:
    names = path.split(".")
    for cut in range(len(names) - 1, 0, -1):
        module = ".".join(names[:cut])
        try:
            found = import_module(module)
        except ModuleNotFoundError as error:
            # This name may be a class in a module. A module whose own import is missing is an error.
            if cut > 1 and error.name is not None and f"{module}.".startswith(f"{error.name}."):
                continue
            raise
        return functools.reduce(getattr, names[cut:], found)
    raise ValueError("there is no module in it")
