"""Detection of exploited rewards, by a comparison of every reward with metrics that it does not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

from semalign_pl.callbacks.reward_alarm import Alarm, Sample, Window, append_alarms, best_completions, print_alarms
from semalign_pl.callbacks.watch_metrics import METRICS, SAME_MEASURE, WatchMetrics
from semalign_pl.functional.trend import Comparison, compare
from semalign_pl.protocols import has_rollouts
from semalign_pl.rewards.task_language import tell_task_languages
from semalign_pl.run.trainer import may_write
from semalign_pl.types import StepOutputs

RECOVERED = 0.25
"""Number of standard deviations below its best at which a metric no longer counts as fallen: half the threshold of an
alarm."""
COLLAPSED = 0.5
"""Share of their best at or below which fewer distinct completions raise an alarm. A policy that improves becomes more
certain, and trades diversity for reward (Cui et al., arXiv 2505.22617), so a smaller fall is no alarm."""


class RewardWatch(Callback):
    """Log metrics that no reward uses, and warn if a reward rises while one of them falls.

    Logged under ``watch/`` are the means of chrf, length_ratio, script, repetition and distinct over the step's
    completions (see watch_metrics.py), and ``alarms``, the number of pairs of reward and metric that diverge now. If a
    corpus has no references, chrf is left out, and lengths are compared with the mean of the first window.

    functional/trend.py defines when a pair diverges. A reward that is a metric itself is not compared with that metric.
    The reward's name decides: chrf (OverlapReward), language, length, repetition. There is one warning per pair, until
    its metric recovers: on the terminal, and in ``RUN/reward_watch.jsonl`` as one object per pair, with the figures and
    the best-rewarded completions of three groups, before and now. If a policy exploits a reward entirely within its
    first window, there is no earlier window to compare with, and only the logged figures show it.

    Args:
        language: Code of the language of the completions; in a mix, of those whose task names none.
        every_n_steps: Number of batches from one watched batch to the next; the run's first batch is watched.
        window: Number of watched steps whose means are compared; an alarm takes at least two windows.
    """

    def __init__(self, language: str = "bo", every_n_steps: int = 1, window: int = 10) -> None:
        super().__init__()
        for name, value, least in (("every_n_steps", every_n_steps, 1), ("window", window, 2)):
            if value < least:
                raise ValueError(f"RewardWatch.{name}: {value} is too few steps; give {least} or more")
        self.every_n_steps, self.window = every_n_steps, window
        self.metrics = WatchMetrics(language)
        self._begin([])

    def _begin(self, names: list[str]) -> None:
        self._names = names  # names of the series: the run's rewards, then METRICS as they are logged
        self._steps: list[int] = []  # optimiser step of each watched step
        self._series = torch.zeros(0, len(names), 3, dtype=torch.float64)
        self._lengths: list[float] = []
        self._samples: dict[int, list[Sample]] = {}
        self._alarmed: set[tuple[str, str]] = set()

    @property
    def state_key(self) -> str:
        """Key of the state, different for watches with different options."""
        options = {"language": self.metrics.language.code, "every_n_steps": self.every_n_steps, "window": self.window}
        return self._generate_state_key(**options)

    def state_dict(self) -> dict[str, object]:
        """State of the watch; ``series`` is ``(watched steps, names, 3)`` float64, see ``_row``."""
        return {
            "names": list(self._names),
            "steps": list(self._steps),
            "series": self._series,
            "lengths": list(self._lengths),
            "samples": dict(self._samples),
            "alarmed": [list(pair) for pair in sorted(self._alarmed)],
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state of the watch."""
        self._names, self._steps, self._series = state_dict["names"], state_dict["steps"], state_dict["series"]
        self._lengths, self._samples = state_dict["lengths"], state_dict["samples"]
        self._alarmed = {(reward, metric) for reward, metric in state_dict["alarmed"]}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Say in one line which corpora are measured by another language than that of the setting."""
        tell_task_languages(type(self).__name__, self.metrics.task_languages, trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """Measure, log, compare and warn, if the batch is a watched one."""
        if not has_rollouts(outputs) or trainer.fit_loop.total_batch_idx % self.every_n_steps:
            return
        names = [*outputs["rewards_per_func"], *map(_log_name, METRICS)]
        if names != self._names:  # first batch of the run, or a run resumed with other rewards
            self._begin(names)
        row = self._row(outputs, trainer, pl_module)
        self._series = torch.cat([self._series, row.unsqueeze(0)])
        self._samples[len(self._steps)] = best_completions(outputs)
        self._steps.append(trainer.global_step)
        alarms = self._compare()
        means = dict(zip(names, row[:, 2].tolist(), strict=True))
        values = {name: means[name] for name in map(_log_name, METRICS) if means[name] == means[name]}
        values["watch/alarms"] = float(len(self._alarmed))
        # Passed to the loggers directly, like a probe's values: Lightning would repeat them in the steps between.
        pl_module.log_dict(values, logger=False, batch_size=1)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.fit_loop.epoch_loop._batches_that_stepped)
        if alarms and trainer.is_global_zero:
            if may_write(trainer):
                append_alarms(Path(trainer.default_root_dir) / "reward_watch.jsonl", alarms)
            print_alarms(alarms)

    def _row(self, outputs: StepOutputs, trainer: Trainer, pl_module: LightningModule) -> Tensor:
        """Statistics over all ranks, ``(names, 3)`` float64.

        These are the mean and variance of the compared values, and the mean of the logged values.
        """

        def over_ranks(sums: list[list[float]]) -> Tensor:
            here = torch.tensor(sums, dtype=torch.float64, device=pl_module.device)
            return trainer.strategy.reduce(here, reduce_op="sum").cpu()

        if len(self._lengths) < self.window:
            texts = outputs["rollouts"].texts
            (total, count) = over_ranks([[sum(map(len, texts)), len(texts)]])[0].tolist()
            self._lengths.append(total / max(1.0, count))
        typical = max(1.0, sum(self._lengths) / len(self._lengths))
        measured = self.metrics(outputs["examples"], outputs["rollouts"], typical)
        sums = []
        rewards = ((scores, scores) for scores in outputs["rewards_per_func"].values())
        for pair in [*rewards, *measured.values()]:
            compared, logged = (values[~values.isnan()].double() for values in pair)
            sums.append([len(compared), float(compared.sum()), float(compared.square().sum()), float(logged.sum())])
        count, total, squares, logged = over_ranks(sums).unbind(1)
        mean = total / count  # NaN where nothing was scored
        return torch.stack([mean, (squares / count - mean.square()).clamp(min=0.0), logged / count], 1)

    def _compare(self) -> list[Alarm]:
        """Compare each reward with each metric that it does not use; return alarms about pairs that newly diverge."""
        rewards, alarms, watched = self._names[: -len(METRICS)], [], len(self._steps)
        # A window that began at one of these steps may be the best one of the next step: keep its samples.
        kept = set(range(watched - 2 * self.window, watched))
        for pair in [(reward, metric) for reward in rewards for metric in METRICS]:
            reward, metric = self._pair(pair)[..., :2].unbind(1)
            change = None if pair in SAME_MEASURE else compare(reward, metric, self.window)
            if change is None:
                continue
            kept.add(change.before[0])
            if pair in self._alarmed:
                if change.metric.effect > -RECOVERED:
                    self._alarmed.remove(pair)
            elif change.diverges() and not (pair[1] == "distinct" and _remaining_share(change) > COLLAPSED):
                self._alarmed.add(pair)
                alarms.append(self._alarm(pair, change))
        self._samples = {step: rows for step, rows in self._samples.items() if step in kept}
        return alarms

    def _pair(self, pair: tuple[str, str]) -> Tensor:
        return self._series[:, [self._names.index(pair[0]), self._names.index(_log_name(pair[1]))]]

    def _alarm(self, pair: tuple[str, str], change: Comparison) -> Alarm:
        logged = self._pair(pair)[..., 2]

        def window(steps: list[int], sampled: int) -> Window:
            reward, metric = logged[steps].mean(0).tolist()
            nearest = min(self._samples, key=lambda step: abs(step - sampled))
            first, last = self._steps[steps[0]], self._steps[steps[-1]]
            return {"steps": [first, last], "reward": reward, "metric": metric, "samples": self._samples[nearest]}

        return {
            "step": self._steps[-1],
            "reward": pair[0],
            "metric": pair[1],
            "reward_z": change.reward.z,
            "metric_z": change.metric.z,
            "before": window(change.before, change.before[0]),
            "now": window(change.after, change.after[-1]),
        }


def _log_name(metric: str) -> str:
    return f"watch/{metric}"  # with a prefix, because a reward may have the metric's name


def _remaining_share(change: Comparison) -> float:
    return change.metric.after / change.metric.before
