"""Base class of probes."""

from __future__ import annotations

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT

from semalign_pl.files.example_folders import remedy
from semalign_pl.policy.policy import Policy
from semalign_pl.protocols import PolicyModule, ProbeListener, missing_members
from semalign_pl.run.trainer import callbacks_of
from semalign_pl.types import Measurement, MetricResult

log = logging.getLogger(__name__)
LARGEST_SHARE = 0.1
"""Share of a run's time in its probes above which a line says so."""
_STATE = "semalign_probes"  # key of a checkpoint


class Probe(Callback, ABC):
    """Callback that measures the policy's general ability every N steps and in a test, without affecting the training.

    Implement ``measure`` in a subclass; the base class takes care of eval mode, gradients and random state. Compute
    scores from items with ``score_items`` (functional/formulas.py), so that systems are compared on the same items. The
    name of a score says if less of it is better (functional/cost.py). A callback that acts on the measurements during
    training is a ``ProbeListener`` (protocols.py): it has a method ``on_probe_end(trainer, pl_module, scores)``.

    Args:
        every_n_steps: Number of optimiser steps between measurements during training; ``None`` to measure only in a
            test.

    Attributes:
        measurement: Measurement of a test; without scores before it.
        names: Kinds and names of what it measured last: scores, histograms and sets of items.
        seconds: Time that its measurements took since the start of the fit.
        began: Time at which the fit started, of ``time.monotonic``.
    """

    def __init__(self, every_n_steps: int | None = None) -> None:
        super().__init__()
        if every_n_steps is not None and every_n_steps < 1:
            raise ValueError(f"{type(self).__name__}.every_n_steps: {every_n_steps} is not a positive number of steps")
        self.every_n_steps = every_n_steps
        self.measurement = Measurement({})
        self.names: frozenset[tuple[str, str]] = frozenset()
        self._measured_at = 0
        self.seconds = 0.0
        self.began = time.monotonic()

    def check_positive(self, **settings: int | None) -> None:
        """Check settings that must be positive whole numbers, or ``None``.

        Args:
            settings: Values by their names in a recipe.

        Raises:
            ValueError: If one is smaller than 1; names the probe, the setting and its value.
        """
        for name, value in settings.items():
            if value is not None and value < 1:
                raise ValueError(f"{type(self).__name__}.{name}: {value} is not a positive whole number; give e.g. 100")

    @abstractmethod
    def measure(self, policy: Policy) -> Measurement:
        """Measure the current policy.

        Args:
            policy: Policy in inference mode (no gradient, no dropout).

        Returns:
            Scores by name, e.g. ``cmrc_f1``, and their items and histograms, if any.
        """

    def run(self, pl_module: LightningModule) -> Measurement:
        """Measure the policy of a module now.

        Args:
            pl_module: Module with the policy.

        Returns:
            Scores, items and histograms.

        Raises:
            ValueError: If the module has no policy, or ``measure`` returned something else.
        """
        if not isinstance(pl_module, PolicyModule):
            raise missing_members(type(self).__name__, pl_module, "a policy, such as SFTModule or GRPOModule")
        policy = pl_module.policy
        devices = [policy.device] if policy.device.type == "cuda" else []
        started = time.monotonic()
        with torch.random.fork_rng(devices=devices), policy.inference():
            measurement = self.measure(policy)
        self.seconds += time.monotonic() - started
        if not isinstance(measurement, Measurement):
            raise ValueError(
                f"trainer.callbacks: {type(self).__name__}.measure returned {type(measurement).__name__}; return "
                "semalign_pl.types.Measurement(scores), scores by name"
            )
        self.names = frozenset(
            {
                *(("score", name) for name in measurement.scores),
                *(("histogram", name) for name in measurement.histograms),
                *(("set of items", item.set) for item in measurement.items),
            }
        )
        return measurement

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self.seconds, self.began = 0.0, time.monotonic()

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count steps from the one at which training starts or resumes; measure now if an interruption prevented it."""
        if self._is_due(trainer):
            # Without log_dict: values that this hook logs would replace newer ones at the end of the epoch.
            self._report(trainer, pl_module, self.run(pl_module).scores)
        self._measured_at = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Measure after every N steps, and log under ``probe/``."""
        if self._is_due(trainer):
            scores = self.run(pl_module).scores
            # For callbacks that monitor a value. The loggers get it from _report, because Lightning would repeat the
            # last value in every later row of the epoch.
            pl_module.log_dict(_name_values(scores), logger=False, batch_size=1, sync_dist=True)
            self._report(trainer, pl_module, scores)
        self._measured_at = trainer.global_step

    def _is_due(self, trainer: Trainer) -> bool:
        every = self.every_n_steps
        return every is not None and trainer.global_step // every > self._measured_at // every

    def _report(self, trainer: Trainer, pl_module: LightningModule, scores: dict[str, MetricResult]) -> None:
        """Pass the scores of a measurement during training to the loggers and to the other callbacks."""
        check_names(probes_of(trainer))
        values = _name_values(scores)
        if (spent := time_in_probes(trainer)) is not None:
            values["probe/time/share"] = spent.share
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.fit_loop.epoch_loop._batches_that_stepped)
        for callback in callbacks_of(trainer):
            if isinstance(callback, ProbeListener):
                callback.on_probe_end(trainer, pl_module, scores)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the step up to which measurements are done.

        It is not saved in ``state_dict``: Lightning would then refuse a second probe of the same class.
        """
        checkpoint.setdefault(_STATE, {})[self._name_in(trainer)] = self._measured_at

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Restore the step up to which measurements are done; an earlier checkpoint has none, so nothing is due."""
        self._measured_at = checkpoint.get(_STATE, {}).get(self._name_in(trainer), checkpoint["global_step"])

    def _name_in(self, trainer: Trainer) -> str:
        """Name of this probe in a checkpoint: its class, and its place among the probes of that class."""
        alike = [callback for callback in callbacks_of(trainer) if type(callback) is type(self)]
        return f"{type(self).__qualname__}/{alike.index(self)}"

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if the probes of a run took much of its time; only the first of them warns."""
        spent, first = time_in_probes(trainer), probes_of(trainer)[0]
        if spent is not None and first is self and trainer.is_global_zero and spent.share > LARGEST_SHARE:
            log.warning(
                "probes took %.0f %% of the time of this run, more than %.0f %%: raise every_n_steps, or lower limit",
                100 * spent.share,
                100 * LARGEST_SHARE,
            )

    def on_test_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure for the results of the test."""
        self.measurement = self.run(pl_module)


def probes_of(trainer: Trainer) -> list[Probe]:
    """Probes of a run, in the order in which they measure.

    Args:
        trainer: Trainer of the run.
    """
    return [callback for callback in callbacks_of(trainer) if isinstance(callback, Probe)]


def check_names(probes: Sequence[Probe], others: Iterable[tuple[str, str]] = ()) -> None:
    """Refuse two scores, histograms or sets of items of one name: results and logs would keep one, or mix both.

    Args:
        probes: Probes; what they measured last counts.
        others: Kinds and names that other callbacks measure.

    Raises:
        ValueError: If two callbacks measure something of the same kind and name; names one of them, and the name.
    """
    taken = {*others}
    for probe in probes:
        for kind, name in sorted(probe.names & taken):
            raise ValueError(
                f"trainer.callbacks: {type(probe).__name__} measures the {kind} {name!r}, and so does another callback "
                "before it; give one of them another name, or leave it out"
            )
        taken |= probe.names


@dataclass(frozen=True)
class ProbeTime:
    """Time that the probes of a fit have taken.

    Attributes:
        seconds: Seconds in all probes, also those that other callbacks ran.
        of_seconds: Seconds since the start of the fit.
    """

    seconds: float
    of_seconds: float

    @property
    def share(self) -> float:
        """Share of the time that was spent in probes, 0 to 1."""
        return self.seconds / max(self.of_seconds, self.seconds)


def time_in_probes(trainer: Trainer) -> ProbeTime | None:
    """Time in the probes of a run, since its fit started or was resumed; ``None`` if none has measured.

    Args:
        trainer: Trainer of the run, in a fit.
    """
    probes = probes_of(trainer)
    seconds = sum(probe.seconds for probe in probes)
    return ProbeTime(seconds, time.monotonic() - min(probe.began for probe in probes)) if seconds else None


def _name_values(scores: dict[str, MetricResult]) -> dict[str, float]:
    """Values of the scores by their names in the log."""
    return {f"probe/{name}": score.value for name, score in scores.items()}


def existing_file(option: str, path: str) -> Path:
    """Path of a file, after a check that it exists.

    Args:
        option: YAML key, for the message.
        path: Path that the user gave.

    Raises:
        ValueError: If there is no such file.
    """
    if not Path(path).is_file():
        advice = "check the path, it is relative to the working folder"
        raise ValueError(f"{option}: there is no file {path}; {advice}{remedy(path)}")
    return Path(path)
