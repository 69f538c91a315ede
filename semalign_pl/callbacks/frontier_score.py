"""Score of a checkpoint: quality gained minus the priced loss of general ability."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, ModelCheckpoint
from lightning.pytorch.trainer.states import TrainerFn

from semalign_pl.callbacks.export import write_result
from semalign_pl.functional.cost import loss_of
from semalign_pl.probes.base import Probe, check_names, probes_of
from semalign_pl.protocols import ExportableModule, missing_members
from semalign_pl.run.trainer import callbacks_of, may_write
from semalign_pl.types import MetricResult

log = logging.getLogger(__name__)

SCORE = "frontier/score"
LOGGED: tuple[str, ...] = (SCORE, "frontier/quality_gained", "frontier/priced_loss")


class FrontierScore(Callback):
    """Log ``frontier/score`` at each validation: quality gained minus what general ability it cost, at given prices.

    Quality is compared with the first validation of the run, and each loss with the start of the run, which is measured
    first. So ``ModelCheckpoint(monitor="frontier/score", mode="max")`` keeps the checkpoint that is the best buy. At
    the end of the fit, the adapter of that checkpoint is also written as a plain folder, ``RUN/best/adapter``.

    Needs a validation corpus, ``Evaluation`` before it in the list, and a probe for each price. A probe need not have
    ``every_n_steps``: it is also run at each validation.

    Args:
        prices: Price of one unit of each loss, in units of quality, by name of a probe's score. {cmrc_f1: 0.5,
            nll_change_mean: 20} gives up half a point of chrF to keep one point of F1.
        quality: Metric of the validation, by its name in `Evaluation`.
    """

    def __init__(self, prices: dict[str, float], quality: str = "chrf") -> None:
        super().__init__()
        wrong = next((name for name, price in prices.items() if not price > 0), None)
        if not prices or wrong is not None:
            problem = "is empty" if wrong is None else f"{wrong}: {prices[wrong]} is not above 0"
            raise ValueError(
                f"FrontierScore.prices: {problem}; give what one unit of each loss is worth in units of quality, e.g. "
                "{cmrc_f1: 0.5, nll_change_mean: 20}"
            )
        self.prices, self.quality = prices, quality
        self.start: dict[str, float] = {}
        self.first_quality: float | None = None
        self._latest: tuple[int, dict[str, float]] = (-1, {})
        self._probes: list[Probe] = []

    # -- hooks -------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the start of the run, unless it is resumed.

        Raises:
            ValueError: If no probe measures a score that has a price, or the module has no result to export.
        """
        _check(pl_module)
        if not self.start:
            log.warning("FrontierScore: measuring general ability at the start of the run")
            self.start = self._measure(trainer, pl_module)

    def on_probe_end(self, trainer: Trainer, pl_module: LightningModule, scores: dict[str, MetricResult]) -> None:
        """Keep a probe's measurement of this step, so that a validation at the same step does not repeat it."""
        step, values = self._latest
        values = values if step == trainer.global_step else {}
        self._latest = (trainer.global_step, values | self._select(trainer, scores))

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the score, its gain and its loss.

        Raises:
            ValueError: If the validation does not log the quality.
        """
        if trainer.state.fn != TrainerFn.FITTING or trainer.sanity_checking:
            return
        key = f"val/{self.quality}"
        if key not in trainer.callback_metrics:
            logged = ", ".join(sorted(name for name in trainer.callback_metrics if name.startswith("val/")))
            raise ValueError(
                f"FrontierScore.quality: the validation does not log {key!r} (there is {logged or 'nothing'}); list "
                "Evaluation before FrontierScore under trainer.callbacks, or name one of its metrics"
            )
        quality = float(trainer.callback_metrics[key])
        if self.first_quality is None:
            self.first_quality = quality
        now = self._measure(trainer, pl_module)
        gained = quality - self.first_quality
        lost = math.fsum(price * loss_of(name, now[name], self.start[name]) for name, price in self.prices.items())
        values = dict(zip(LOGGED, (gained - lost, gained, lost), strict=True))
        pl_module.log_dict(values, batch_size=1, sync_dist=True)

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write the adapter of the best checkpoint to ``RUN/best/adapter``."""
        best = next((c for c in callbacks_of(trainer) if isinstance(c, ModelCheckpoint) and c.monitor == SCORE), None)
        if best is None or not may_write(trainer):
            return
        if not Path(best.best_model_path).is_file():
            log.warning("FrontierScore: no checkpoint was scored, so RUN/best is not written; validate during the fit")
            return
        folder = _export(trainer, pl_module, best)
        log.warning("FrontierScore: the best checkpoint's adapter is in %s", folder)

    # -- state -------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, object]:
        """Values that gains and losses are relative to, and the prices."""
        start = {"start": self.start, "quality": self.quality, "first_quality": self.first_quality}
        return {**start, "prices": dict(self.prices)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state.

        Raises:
            ValueError: If the checkpoint's run scored other metrics, or at other prices.
        """
        before, now = {state_dict["quality"], *state_dict["start"]}, {self.quality, *self.prices}
        if before != now:
            raise ValueError(
                f"FrontierScore: the checkpoint's run scored {', '.join(sorted(before))}, not "
                f"{', '.join(sorted(now))}; name the same metrics, or start a new run from its adapter folder"
            )
        prices = state_dict.get("prices", self.prices)  # earlier checkpoints have none
        if prices != self.prices:
            raise ValueError(
                f"FrontierScore.prices: the checkpoint's run had {prices}, not {dict(self.prices)}, and its scores "
                "choose the best checkpoint, too; give the same prices, or start a new run from its adapter folder"
            )
        self.start, self.first_quality = dict(state_dict["start"]), state_dict["first_quality"]

    # -- measurement -------------------------------------------------------------------------------------------

    def _measure(self, trainer: Trainer, module: LightningModule) -> dict[str, float]:
        """Values of the priced scores now; probes run only for those that this step has not measured yet."""
        step, values = self._latest
        values = dict(values) if step == trainer.global_step else {}
        probes = self._probes or probes_of(trainer)
        there: list[str] = []
        for probe in probes if set(self.prices) - set(values) else []:
            scores = probe.run(module).scores
            there += scores
            selected = self._select(trainer, scores)
            if selected and probe not in self._probes:
                self._probes.append(probe)
            values |= selected
        check_names(probes_of(trainer))
        missing = next((name for name in self.prices if name not in values), None)
        if missing is not None:
            raise ValueError(
                f"FrontierScore.prices: nothing measures {missing!r} (there is {', '.join(there) or 'no probe'}); list "
                "a probe for it under trainer.callbacks, or leave the price out"
            )
        self._latest = (trainer.global_step, values)
        return values

    def _select(self, trainer: Trainer, scores: Mapping[str, MetricResult]) -> dict[str, float]:
        """Values of the priced scores, from rank 0, so that all ranks agree on the best checkpoint."""
        values = {name: score.value for name, score in scores.items() if name in self.prices}
        return values if trainer.world_size == 1 else trainer.strategy.broadcast(values)


def _check(module: LightningModule) -> None:
    if not isinstance(module, ExportableModule):
        raise missing_members("FrontierScore", module, "stage, seed and export(root)")


def _export(trainer: Trainer, module: LightningModule, best: ModelCheckpoint) -> Path:
    """Write the best checkpoint's weights to ``RUN/best``; the module keeps its own weights."""
    checkpoint = torch.load(best.best_model_path, map_location="cpu", weights_only=True)
    own = {name: weight.detach().clone() for name, weight in module.state_dict().items()}
    score = None if best.best_model_score is None else float(best.best_model_score)
    root, step = Path(trainer.default_root_dir) / "best", checkpoint["global_step"]
    try:
        module.load_state_dict(checkpoint["state_dict"])
        return write_result(trainer, module, root, steps=step, checkpoint=best.best_model_path, score=score)
    finally:
        module.load_state_dict(own)
