"""Budget of general ability that training may lose."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Literal, TypedDict

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.functional.cost import allows_all, less_is_better, names_direction
from semalign_pl.functional.multiplier import budget_used, next_multiplier
from semalign_pl.probes.base import Probe, check_names, probes_of
from semalign_pl.protocols import AnchoredModule, KLModule
from semalign_pl.run.trainer import may_write
from semalign_pl.types import MetricResult

log = logging.getLogger(__name__)

_KEYS = {"beta": "model.init_args.beta", "anchor": "model.init_args.anchor.weight"}


class Measurement(TypedDict):
    """Measurement of the probes, in the history of the budget.

    Attributes:
        step: Number of optimiser steps done.
        values: Scores that the budget names, by name.
        used: Used share of each budget, by name.
        beta: KL weight from this step on.
    """

    step: int
    values: dict[str, float]
    used: dict[str, float]
    beta: float | None


class TaxBudget(Callback):
    """Steer the weight of a KL by the probes, so that the stage ends within a budget of lost ability.

    The budget is a constraint on the probes' scores. A KL of the module enforces it: that of GRPO or SFT to its
    reference policy, or that of the anchor to the base. Its weight, called beta here, is the constraint's Lagrange
    multiplier (dual ascent, functional/multiplier.py). After each measurement by a probe, beta is adjusted by the
    measured score whose budget is used up most. Probes may measure at different steps: a measurement adjusts beta once,
    and beta does not fall while the latest score of another probe has used up more of its budget. Changes are relative
    to the start of the stage, which is measured first. If the run still ends beyond its budget, the excess is reported.

    Needs probes with ``every_n_steps`` among the callbacks. Writes ``RUN/tax_budget.json``: each measurement with the
    used share and the resulting beta.

    Args:
        budget: Allowed change since the start of the stage, by name of a probe's score: {cmrc_f1: -1.0} may fall by one
            point, {nll_change_mean: 0.1} may rise by 0.1 nats.
        beta_min: Minimum KL weight; null for the module's own.
        beta_max: Maximum KL weight.
        target: Share of the budget to converge to; the rest is a margin for the probes' noise and the delayed effect of
            beta.
        steers: Weight to steer: beta, the module's own; or anchor, the weight of its anchor.
        rate: Speed at which beta follows: each measurement multiplies it by exp(rate * (used share - target)).
    """

    def __init__(
        self,
        budget: dict[str, float],
        beta_min: float | None = None,
        beta_max: float = 10.0,
        target: float = 0.7,
        rate: float = 2.0,
        steers: Literal["beta", "anchor"] = "beta",
    ) -> None:
        super().__init__()
        zero = next((name for name, allowed in budget.items() if allowed == 0), None)
        if not budget or zero is not None:
            raise ValueError(
                f"TaxBudget.budget: {f'{zero}: 0 can be kept by no training' if budget else 'is empty'}; give the "
                "change allowed, e.g. {cmrc_f1: -1.0, nll_change_mean: 0.1}"
            )
        for name, allowed in budget.items():
            if names_direction(name) and less_is_better(name) != (allowed > 0):
                kind = "less of it is better" if less_is_better(name) else "it is an ability"
                raise ValueError(
                    f"TaxBudget.budget: {name}: {allowed:g} limits no loss, because {kind}; write {-allowed:g}"
                )
        if not 0 < target <= 1:
            raise ValueError(f"TaxBudget.target: {target} is no share of the budget; give a number in (0, 1], e.g. 0.7")
        if rate <= 0:
            raise ValueError(f"TaxBudget.rate: {rate} would not lead beta to the budget; give e.g. 2.0")
        self.budget, self.beta_min, self.beta_max, self.target, self.rate = budget, beta_min, beta_max, target, rate
        self.steers: Literal["beta", "anchor"] = steers
        self.start: dict[str, float] = {}
        self.now: dict[str, float] = {}
        self.beta: float | None = None
        self.history: list[Measurement] = []
        self._measured_at: dict[str, int] = {}
        self._before: tuple[float, dict[str, float]] = (0.0, {})  # beta and used shares before the last measured step

    @property
    def used(self) -> dict[str, float]:
        """Used share of each budget, by name."""
        return budget_used(self.start, self.now, self.budget)

    # -- hooks -------------------------------------------------------------------------------------------------

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the start of the stage, unless the run is resumed, and set the module's beta.

        Raises:
            ValueError: If there is no KL weight to steer, its bounds are invalid, no probe measures a score of the
                budget, or a budget allows the loss of a whole ability.
        """
        if self.beta is None:
            self._begin(trainer, pl_module)
        self._set_beta(pl_module)

    def _set_beta(self, module: LightningModule) -> None:
        assert self.beta is not None, "_begin sets it"
        if self.steers == "anchor":
            assert isinstance(module, AnchoredModule), "_begin refuses a module without an anchor"
            module.anchor_weight = self.beta
        else:
            assert isinstance(module, KLModule), "_begin refuses a module without a KL weight"
            module.beta = self.beta

    def _weight(self, module: LightningModule) -> float:
        """Weight of the module that is steered; 0 if it has none."""
        if self.steers == "anchor":
            return module.anchor_weight if isinstance(module, AnchoredModule) else 0.0
        return module.beta if isinstance(module, KLModule) else 0.0

    def _begin(self, trainer: Trainer, module: LightningModule) -> None:
        beta = self._weight(module)
        low = beta if self.beta_min is None else self.beta_min
        if not 0 < low <= beta <= self.beta_max:
            raise ValueError(
                f"TaxBudget: beta_min {low:g} <= {_KEYS[self.steers]} {beta:g} <= beta_max {self.beta_max:g} does "
                "not hold above 0; it steers this weight between the two, so start from e.g. "
                f"{'anchor: {file: general.txt, weight: 1.0}' if self.steers == 'anchor' else 'beta: 0.04'}"
            )
        self.beta, self.beta_min = beta, low
        log.warning("TaxBudget: measuring what there is to lose")
        scores = {name: score for probe in _probes(trainer) for name, score in probe.run(module).scores.items()}
        check_names(_probes(trainer))
        missing = next((name for name in self.budget if name not in scores), None)
        if missing is not None:
            there = ", ".join(scores) or "no probe with every_n_steps"
            raise ValueError(
                f"TaxBudget.budget: nothing measures {missing!r} during training (there is {there}); list a probe for "
                "it under trainer.callbacks, with every_n_steps"
            )
        self.start = self._select_budget(trainer, scores)
        for name, value in self.start.items():
            if allows_all(name, abs(self.budget[name]), value):
                lost = f"allows to lose all of the {value:g} at the start; give less"
                nothing = "limits nothing, because the model is at 0 at the start; give a score that it can lose"
                raise ValueError(f"TaxBudget.budget: {name}: {self.budget[name]:g} {lost if value else nothing}")
        self.now = dict(self.start)
        self._note(trainer.global_step)

    def on_probe_end(self, trainer: Trainer, pl_module: LightningModule, scores: dict[str, MetricResult]) -> None:
        """Adjust beta by a probe's measurement; once per step, however many probes measure at it."""
        fresh = self._select_budget(trainer, scores)
        if not fresh or self.beta is None:  # None: a probe on resume, in a run that had no budget; the start follows
            return
        assert self.beta_min is not None, "set with beta"
        if trainer.global_step in self._measured_at.values():  # by another probe: both make one step of beta
            self.history.pop()
        else:
            self._before = (self.beta, self.used)
        self.now |= fresh
        self._measured_at |= dict.fromkeys(fresh, trainer.global_step)
        # Older scores of other probes adjusted beta when they were measured; they only keep it from falling.
        names = [name for name, step in self._measured_at.items() if step == trainer.global_step]
        beta, before = self._before
        used, used_before = max(self.used[name] for name in names), max(before[name] for name in names)
        bounds = {"low": self.beta_min, "high": self.beta_max}
        self.beta = next_multiplier(beta, used, used_before, target=self.target, rate=self.rate, **bounds)
        if max(self.used.values()) > used:
            self.beta = max(self.beta, beta)
        self._set_beta(pl_module)
        self._note(trainer.global_step)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: object, batch_idx: int) -> None:
        """Log the step's beta, and the used share of the budget."""
        assert self.beta is not None, "set when training started"
        name = "anchor_weight" if self.steers == "anchor" else "beta"
        values = {f"train/{name}": self.beta, "train/budget_used": max(self.used.values())}
        pl_module.log_dict(values, batch_size=1, sync_dist=True)

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Measure the last step unless every score of the budget was; write and print the result, kept or not."""
        if any(self._measured_at.get(name) != trainer.global_step for name in self.budget):
            if self.history[-1]["step"] == trainer.global_step:
                self.history.pop()
            for probe in _probes(trainer):
                self.now |= self._select_budget(trainer, probe.run(pl_module).scores)
            self._note(trainer.global_step)
        if not trainer.is_global_zero:
            return
        kept = max(self.used.values()) <= 1
        settings = {
            "steers": self.steers,
            "beta_min": self.beta_min,
            "beta_max": self.beta_max,
            "target": self.target,
            "rate": self.rate,
        }
        record = {"budget": self.budget, "start": self.start, "kept": kept, **settings, "history": self.history}
        path = Path(trainer.default_root_dir) / "tax_budget.json"
        if may_write(trainer):
            write_text(path, to_json(record, path, indent=1))
        _print(self, kept)

    # -- state -------------------------------------------------------------------------------------------------

    def state_dict(self) -> dict[str, object]:
        """Values at the start of the stage and now, beta, its minimum, the history, and the step of each score."""
        return {
            "start": self.start,
            "now": self.now,
            "beta": self.beta,
            "beta_min": self.beta_min,
            "history": self.history,
            "measured_at": self._measured_at,
            "before": self._before,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the state.

        Raises:
            ValueError: If the budget of the checkpoint's run has other scores.
        """
        if set(state_dict["start"]) != set(self.budget):
            raise ValueError(
                f"TaxBudget.budget: the checkpoint was trained under a budget of {', '.join(state_dict['start'])}, not "
                f"{', '.join(self.budget)}; name the same scores, or start a new run from its adapter folder"
            )
        self.start, self.now = dict(state_dict["start"]), dict(state_dict["now"])
        self.beta, self.beta_min = state_dict["beta"], state_dict["beta_min"]
        self.history = list(state_dict["history"])
        self._measured_at = dict(state_dict.get("measured_at", {}))  # earlier checkpoints have neither
        self._before = state_dict.get("before", (self.beta, self.used))

    def _select_budget(self, trainer: Trainer, scores: dict[str, MetricResult]) -> dict[str, float]:
        """Values of the scores that the budget names, from rank 0, so that beta is the same on all ranks."""
        values = {name: score.value for name, score in scores.items() if name in self.budget}
        return values if trainer.world_size == 1 else trainer.strategy.broadcast(values)

    def _note(self, step: int) -> None:
        self.history.append({"step": step, "values": dict(self.now), "used": self.used, "beta": self.beta})


def _probes(trainer: Trainer) -> list[Probe]:
    return [probe for probe in probes_of(trainer) if probe.every_n_steps is not None]


def _print(budget: TaxBudget, kept: bool) -> None:
    from rich.table import Table

    from semalign_pl.messages.console import Console, Text

    table = Table("score", "start", "end", "change", "allowed", "used", title="tax budget")
    for name, allowed in budget.budget.items():
        start, now = budget.start[name], budget.now[name]
        share = f"{budget.used[name]:.0%}"
        table.add_row(name, f"{start:.4g}", f"{now:.4g}", f"{now - start:+.4g}", f"{allowed:+g}", share)
    console = Console()
    console.print(table)
    weight = "the anchor's weight" if budget.steers == "anchor" else "beta"
    if kept:
        console.print(f"The budget was kept; {weight} ended at {budget.beta:.3g}.")
    else:
        console.print(
            Text("The budget was not kept", "bold red"),
            f": {weight} ended at {budget.beta:.3g} (greatest {budget.beta_max:g}). "
            "Raise beta_max or rate, measure more often (every_n_steps), lower the learning rate, or allow more.",
            sep="",
        )
