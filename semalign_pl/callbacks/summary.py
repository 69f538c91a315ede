"""Summary after training: scores, general ability lost, the folder of the result and the next command."""

from __future__ import annotations

import csv
import math
import shlex
import time
from collections.abc import Iterator
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.callbacks.evaluation import Evaluation
from semalign_pl.callbacks.progress import short_name
from semalign_pl.callbacks.validation_scores import is_score
from semalign_pl.data import CorpusDataModule, RawText
from semalign_pl.files.documents import read_yaml
from semalign_pl.functional.cost import less_is_better, loss_of
from semalign_pl.messages.page import format_seconds, lay_out
from semalign_pl.messages.terminal import visible
from semalign_pl.modules.stage import StageModule
from semalign_pl.probes.base import Probe, time_in_probes
from semalign_pl.run.finished import ADAPTER, RECIPE, command_of_test
from semalign_pl.run.folder import RunFolder
from semalign_pl.run.history import METRICS
from semalign_pl.run.trainer import callbacks_of, data_module_of, is_trial

WINDOW = 10
"""Number of steps whose mean is compared at the beginning and the end of a run."""
_TRAIN = ("train/reward", "train/loss")
_REWARD = "train/reward/"
_OF_BASE = {"change", "kl"}
"""Words in the names of metrics that are themselves differences from the base."""

History = list[dict[str, str]]
"""Rows of metrics.csv, with the number of optimiser steps done as ``step``."""


class RunSummary(Callback):
    """Print what a fit has done: its scores, the general ability lost, where the adapter is, and the next command.

    Scores are read from ``RUN/metrics.csv``, so those of a resumed run begin with its first step. The general ability
    lost is what the probes measured during training (``every_n_steps``).

    ``trainer.enable_model_summary: false`` turns it off.
    """

    def __init__(self) -> None:
        super().__init__()
        self._began = 0.0

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._began = time.monotonic()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the summary; the result is exported by now."""
        if not trainer.is_global_zero or is_trial(trainer):
            return
        for logger in trainer.loggers:
            logger.save()
        folder = Path(trainer.default_root_dir)
        updates = pl_module.updates_per_batch() if isinstance(pl_module, StageModule) else 1
        history = read_history(folder / METRICS, updates)
        probes = any(isinstance(callback, Probe) for callback in callbacks_of(trainer))
        rows = [*training_rows(history), *validation_rows(history), *ability_rows(history, probes)]
        if (spent := time_in_probes(trainer)) is not None:
            rows.append(("probes", f"{100 * spent.share:.1f} % of the time ({format_seconds(spent.seconds)})"))
        result = RunFolder.of(trainer).result()
        if result is not None:
            rows.append((result.name, str(result)))
        seconds = format_seconds(time.monotonic() - self._began)
        page = lay_out(f"done: {trainer.global_step:,} steps, {seconds}", rows)
        # Commands are not wrapped, so that they can be copied.
        commands = [] if result is None else [f"    {command}" for command in _next(trainer, result)]
        print(visible("\n".join([page, *(["  next"] if commands else []), *commands])), flush=True)


def read_history(file: Path, updates: int) -> History:
    """Rows of a run's ``metrics.csv``, with the number of optimiser steps done as ``step``; none without such a file.

    Args:
        file: Path of the file, in which ``step`` counts batches from 0.
        updates: Number of optimiser steps per batch.
    """
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        return [{**row, "step": str((int(row["step"]) + 1) * updates)} for row in csv.DictReader(lines)]


def values_of(history: History, name: str) -> list[tuple[int, float]]:
    """Values of a metric, each with the optimiser step after which it was logged.

    Args:
        history: Rows of the history.
        name: Name of the metric.
    """
    found = [(int(row["step"]), float(row[name])) for row in history if row.get(name)]
    return [(step, value) for step, value in found if not math.isnan(value)]


def _names(history: History, prefix: str) -> list[str]:
    return sorted({name for row in history for name in row if name is not None and name.startswith(prefix)})


def training_rows(history: History) -> Iterator[tuple[str, str]]:
    """Mean of the reward, or else of the loss, and of each reward by name, over the first and the last steps.

    Args:
        history: Rows of the history.
    """
    main = next((name for name in _TRAIN if values_of(history, name)), None)
    for name in [*([main] if main else []), *_names(history, _REWARD)]:
        values = [value for _, value in values_of(history, name)]
        if not values:
            continue
        window = min(WINDOW, max(1, len(values) // 2))
        first, last = (sum(some) / window for some in (values[:window], values[-window:]))
        over = f"means of the first and the last {window} steps" if window > 1 else "first and last step"
        yield "training", f"{short_name(name)} {first:.3f} → {last:.3f}" + (f" ({over})" if name == main else "")


def validation_rows(history: History) -> Iterator[tuple[str, str]]:
    """Last and best score of each validation metric.

    Args:
        history: Rows of the history.
    """
    for name in sorted(filter(is_score, _names(history, "val/")), key=lambda name: name != "val/loss"):
        values = values_of(history, name)
        if not values:
            continue
        metric = name.removeprefix("val/")
        best = (min if less_is_better(metric) else max)(values, key=lambda pair: pair[1])
        last = values[-1]
        shown = f"{short_name(metric)} {last[1]:.4g}"
        if len({value for _, value in values}) > 1:
            shown += ", the best" if best[1] == last[1] else f"; best {best[1]:.4g} after step {best[0]}"
        yield "validation", shown


def ability_rows(history: History, probes: bool) -> Iterator[tuple[str, str]]:
    """Last measurement of each probe, and the general ability lost since its first one, or against the base.

    Args:
        history: Rows of the history.
        probes: True if the run has a probe.
    """
    measured = {name: values for name in _names(history, "probe/") if (values := values_of(history, name))}
    for name, values in measured.items():
        metric = name.removeprefix("probe/")
        (start, first), (end, last) = values[0], values[-1]
        text = f"{short_name(metric)} {last:.4g} after step {end}"
        if not _OF_BASE.isdisjoint(metric.split("_")):
            yield "ability", f"{text}; the base has 0"
            continue
        lost = loss_of(metric, last, first)
        change = f"lost {lost:.3g}" if lost > 0 else f"gained {-lost:.3g}" if lost < 0 else "unchanged"
        yield "ability", text + (f"; {change} since step {start}" if end > start else "")
    if not measured:
        remedy = "semalign test runs the probes" if probes else "add a probe, such as ReadingComprehensionProbe"
        yield "ability", f"general ability lost: not measured in training; {remedy}"


def _next(trainer: Trainer, result: Path) -> Iterator[str]:
    folder, data, adapter = Path(trainer.default_root_dir), data_module_of(trainer), result.name == ADAPTER
    tested = any(isinstance(callback, Evaluation) for callback in callbacks_of(trainer)) or not adapter
    file = folder / RECIPE
    if tested and isinstance(data, CorpusDataModule) and data.corpora["test"]:
        yield shlex.join(command_of_test(folder, read_yaml(file) if file.is_file() else {}))
    if adapter and isinstance(data, CorpusDataModule) and _has_prompts(data):
        yield shlex.join(["semalign", "chat", str(folder)])


def _has_prompts(data: CorpusDataModule) -> bool:
    """Return true if a corpus has a task with prompts, without which ``semalign chat`` refuses a run."""
    corpora = (corpus for corpora in data.corpora.values() for corpus in corpora if not corpus.replay)
    return any(not isinstance(corpus.task or data.task, RawText) for corpus in corpora)
