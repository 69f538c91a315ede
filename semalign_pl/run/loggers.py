"""Loggers of a run: metrics.csv always, and the recipe as hyperparameters of every other logger."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lightning.pytorch.loggers import CSVLogger, Logger, WandbLogger

from semalign_pl.run.history import RunLogger
from semalign_pl.run.named_files import flatten


def with_run_logger(given: Logger | Sequence[Logger] | bool | None, folder: Path) -> list[Logger] | bool:
    """Loggers of a training: those of the recipe after the one that writes ``RUN/metrics.csv``.

    Args:
        given: Value of ``trainer.logger``: loggers, ``True`` or ``None`` for none besides ``metrics.csv``, or ``False``
            for no log at all.
        folder: Folder of the run.
    """
    if given is False:
        return False
    named = [given] if isinstance(given, Logger) else list(given) if isinstance(given, Sequence) else []
    # A CSVLogger in the run's folder would write the same file, and delete that of a run that is resumed.
    others = [one for one in named if not (isinstance(one, CSVLogger) and _same(one.log_dir, folder))]
    return [RunLogger(folder), *others]


def log_recipe(loggers: Iterable[Logger], config: Mapping[str, object]) -> None:
    """Give a run's settings to its loggers as hyperparameters, named as on the command line.

    ``metrics.csv`` has no place for them; its folder has ``fit.yaml``. The loggers' own settings, which may hold an API
    key, are left out.

    Args:
        loggers: Loggers of the run.
        config: Settings, as nested dicts and lists. Those that are ``None`` or empty are left out.
    """
    flat = ((key.replace("[", ".").replace("]", ""), value) for key, value in flatten(config))
    given = {
        key: value if isinstance(value, bool | int | float | str) else str(value)
        for key, value in flat
        if value is not None and value != [] and value != {} and not key.startswith("trainer.logger.")
    }
    for logger in loggers:
        if not isinstance(logger, RunLogger):
            logger.log_hyperparams(given)


def close(loggers: Iterable[Logger]) -> None:
    """End the runs of Weights & Biases, which Lightning leaves open: the next step of a study would log to them.

    Args:
        loggers: Loggers of a run that has ended.
    """
    for logger in loggers:
        if isinstance(logger, WandbLogger) and (run := getattr(logger, "_experiment", None)) is not None:
            run.finish()


def _same(one: str | Path, other: Path) -> bool:
    return Path(one).resolve() == other.resolve()
