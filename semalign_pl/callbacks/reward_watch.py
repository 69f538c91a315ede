"""Detection of exploited rewards, by a comparison of every reward with metrics that it does not use."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from semalign_pl.callbacks.reward_alarm import Alarm, append, samples, show
from semalign_pl.callbacks.unseen import METRICS, SEEN, Unseen
from semalign_pl.functional.trend import Comparison, compare
from semalign_pl.run.folder import may_write

RECOVERED = 0.25
"""Number of standard deviations below its best at which a metric no longer counts as fallen: half the threshold of an
alarm."""
COLLAPSED = 0.5
"""Share of their best at or below which fewer distinct completions raise an alarm. A policy that improves becomes more
certain, and trades diversity for reward (Cui et al., arXiv 2505.22617), so a smaller fall is no alarm."""


class RewardWatch(Callback):
    """Log metrics that no reward uses, and warn if a reward rises while one of them falls.

    Logged under ``watch/`` are the means of chrf, length_ratio, script, repetition and distinct over the step's
    completions (see unseen.py), and ``alarms``, the number of pairs of reward and metric that diverge now. If a corpus
    has no references, chrf is left out, and lengths are compared with the mean of the first window.

    functional/trend.py defines when a pair diverges. A reward that is a metric itself is not compared with that metric.
    The reward's name decides: chrf (OverlapReward), language, length, repetition. There is one warning per pair, until
    its metric recovers: on the terminal, and in ``RUN/reward_watch.jsonl`` as one object per pair, with the figures and
    the best-rewarded completions of three groups, before and now. If a policy exploits a reward entirely within its
    first window, there is no earlier window to compare with, and only the logged figures show it.

    Args:
        language: Code of the language of the completions.
        every_n_steps: Number of batches from one watched batch to the next; the run's first batch is watched.
        window: Number of watched steps whose means are compared; an alarm takes at least two windows.
    """

    def __init__(self, language: str = "bo", every_n_steps: int = 1, window: int = 10) -> None:
        super().__init__()
        for name, value, least in (("every_n_steps", every_n_steps, 1), ("window", window, 2)):
            if value < least:
                raise ValueError(f"RewardWatch.{name}: {value} is too few steps; give {least} or more")
        self.every_n_steps, self.window = every_n_steps, window
        self.unseen = Unseen(language)
        self._begin([])

    def _begin(self, names: list[str]) -> None:
        self._names = names  # names of the series: the run's rewards, then METRICS as they are logged
        self._steps: list[int] = []  # optimiser step of each watched step
        self._series = torch.zeros(0, len(names), 3, dtype=torch.float64)
        self._lengths: list[float] = []
        self._samples: dict[int, list[dict[str, Any]]] = {}
        self._alarmed: set[tuple[str, str]] = set()

    @property
    def state_key(self) -> str:
        """Key of the state, different for watches with different options."""
        options = {"language": self.unseen.language.code, "every_n_steps": self.every_n_steps, "window": self.window}
        return self._generate_state_key(**options)

    def state_dict(self) -> dict[str, Any]:
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
        for name in ("names", "steps", "series", "lengths", "samples"):
            setattr(self, f"_{name}", state_dict[name])
        self._alarmed = {(reward, metric) for reward, metric in state_dict["alarmed"]}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Measure, log, compare and warn, if the batch is a watched one."""
        if "rollouts" not in (outputs or {}) or trainer.fit_loop.total_batch_idx % self.every_n_steps:
            return
        names = [*outputs["rewards_per_func"], *map(_logged, METRICS)]
        if names != self._names:  # first batch of the run, or a run resumed with other rewards
            self._begin(names)
        row = self._row(outputs, trainer, pl_module)
        self._series = torch.cat([self._series, row.unsqueeze(0)])
        self._samples[len(self._steps)] = samples(outputs)
        self._steps.append(trainer.global_step)
        alarms = self._compare()
        shown = dict(zip(names, row[:, 2].tolist(), strict=True))
        values = {name: shown[name] for name in map(_logged, METRICS) if shown[name] == shown[name]}
        values["watch/alarms"] = float(len(self._alarmed))
        # Passed to the loggers directly, like a probe's values: Lightning would repeat them in the steps between.
        pl_module.log_dict(values, logger=False, batch_size=1)
        for logger in trainer.loggers:
            logger.log_metrics(values, step=trainer.fit_loop.epoch_loop._batches_that_stepped)
        if alarms and trainer.is_global_zero:
            if may_write(trainer):
                append(Path(trainer.default_root_dir) / "reward_watch.jsonl", alarms)
            show(alarms)

    def _row(self, outputs: dict[str, Any], trainer: Trainer, pl_module: LightningModule) -> Tensor:
        """Statistics over all ranks, ``(names, 3)`` float64.

        These are the mean and variance of the compared values, and the mean of the logged values.
        """

        def over_ranks(sums: list[list[float]]) -> Tensor:
            here = torch.tensor(sums, dtype=torch.float64, device=pl_module.device)
            return trainer.strategy.reduce(here, reduce_op="sum").cpu()

        if len(self._lengths) < self.window:
            texts = outputs["rollouts"].texts
            (total, count) = over_ranks([[sum(map(len, texts)), len(texts)]])[0].tolist()
            self._lengths.append(total / count)
        typical = max(1.0, sum(self._lengths) / len(self._lengths))
        measured = self.unseen(outputs["examples"], outputs["rollouts"], typical)
        sums = []
        for judged, shown in [*((part, part) for part in outputs["rewards_per_func"].values()), *measured.values()]:
            judged, shown = (values[~values.isnan()].double() for values in (judged, shown))
            sums.append([len(judged), float(judged.sum()), float(judged.square().sum()), float(shown.sum())])
        count, total, squares, shown = over_ranks(sums).unbind(1)
        mean = total / count  # NaN where nothing was scored
        return torch.stack([mean, (squares / count - mean.square()).clamp(min=0.0), shown / count], 1)

    def _compare(self) -> list[Alarm]:
        """Compare each reward with each metric that it does not use; return alarms about pairs that newly diverge."""
        rewards, alarms, seen = self._names[: -len(METRICS)], [], len(self._steps)
        # A window that began at one of these steps may be the best one of the next step: keep its samples.
        kept = set(range(seen - 2 * self.window, seen))
        for pair in [(reward, metric) for reward in rewards for metric in METRICS]:
            reward, metric = self._pair(pair)[..., :2].unbind(1)
            found = None if pair in SEEN else compare(reward, metric, self.window)
            if found is None:
                continue
            kept.add(found.before[0])
            if pair in self._alarmed:
                if found.metric.effect > -RECOVERED:
                    self._alarmed.remove(pair)
            elif found.diverges() and not (pair[1] == "distinct" and _left(found) > COLLAPSED):
                self._alarmed.add(pair)
                alarms.append(self._alarm(pair, found))
        self._samples = {step: rows for step, rows in self._samples.items() if step in kept}
        return alarms

    def _pair(self, pair: tuple[str, str]) -> Tensor:
        return self._series[:, [self._names.index(pair[0]), self._names.index(_logged(pair[1]))]]

    def _alarm(self, pair: tuple[str, str], found: Comparison) -> Alarm:
        shown = self._pair(pair)[..., 2]

        def window(steps: list[int], sampled: int) -> dict[str, Any]:
            reward, metric = shown[steps].mean(0).tolist()
            nearest = min(self._samples, key=lambda step: abs(step - sampled))
            first, last = self._steps[steps[0]], self._steps[steps[-1]]
            return {"steps": [first, last], "reward": reward, "metric": metric, "samples": self._samples[nearest]}

        return {
            "step": self._steps[-1],
            "reward": pair[0],
            "metric": pair[1],
            "reward_z": found.reward.z,
            "metric_z": found.metric.z,
            "before": window(found.before, found.before[0]),
            "now": window(found.after, found.after[-1]),
        }


def _logged(metric: str) -> str:
    return f"watch/{metric}"  # with a prefix, because a reward may have the metric's name


def _left(found: Comparison) -> float:
    return found.metric.after / found.metric.before
