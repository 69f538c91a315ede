"""``results.json`` as typed numbers, and how each metric is named, rounded and read."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from semalign_pl.files.documents import read_json
from semalign_pl.messages.terminal import visible

BASE = "base"
REFERENCES = "language_consistency_references"
"""The language consistency of the test set's own references, which each test reports beside the system's."""
REMEDY = "Run the study again, or point the report at the folder that holds its results.json"
METRIC_FORM = '{"value": number, "ci": [low, high] or null, "signature": text}'
SYSTEM_TITLES = {
    BASE: "Base",
    "cold_start": "Cold start",
    "strong_sft": "Strong SFT",
    "semantic_grpo": "Semantic GRPO",
}


@dataclass(frozen=True)
class Column:
    """How one metric is shown.

    Attributes:
        name: Its key in ``results.json``.
        title: Its name in headings, axes and sentences.
        digits: Decimals.
        higher_is_better: Which way is good.
        unit: Said once in sentences and on axes.
        signed: Whether a plus sign is written; for changes.
        short: Its heading where a terminal leaves little room.
    """

    name: str
    title: str
    digits: int = 3
    higher_is_better: bool = True
    unit: str = ""
    signed: bool = False
    short: str = ""

    def format(self, value: float) -> str:
        """The value, rounded; never a negative zero."""
        return f"{round(value, self.digits) + 0.0:{'+' if self.signed else ''}.{self.digits}f}"

    def format_spread(self, value: float) -> str:
        """A spread or a difference of this metric: rounded, unsigned."""
        return f"{value:.{self.digits}f}"

    @property
    def heading(self) -> str:
        """Title and the good direction."""
        return f"{self.title} {self.arrow}"

    @property
    def arrow(self) -> str:
        """The good direction."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def axis(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


QUALITY = (
    Column("bleu4", "BLEU-4", digits=1),
    Column("chrf", "chrF", digits=1),
    Column("rouge_l", "ROUGE-L"),
    Column("semantic_similarity", "Semantic similarity", short="Sem. sim."),
    Column("language_consistency", "Language consistency", short="Lang. cons."),
)
COST = (
    Column("cmrc_em", "CMRC EM", digits=1),
    Column("cmrc_f1", "CMRC F1", digits=1),
    Column("nll_change_mean", "NLL change", higher_is_better=False, unit="nats/token", signed=True),
    Column("kl_mean", "KL to base", higher_is_better=False, unit="nats/token"),
)
OTHER = (
    Column(REFERENCES, "Language consistency of the references"),
    Column("cmrc_avg", "CMRC average", digits=1),
    Column("nll_change_p90", "NLL change, P90", higher_is_better=False, unit="nats/token", signed=True),
)
COLUMNS = {column.name: column for column in (*QUALITY, *COST, *OTHER)}


def column_of(name: str) -> Column:
    """How a metric is shown; an unknown one under its own name."""
    return COLUMNS.get(name) or Column(name, visible(name.replace("_", " ")))


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Attributes:
        value: The mean over seeds where several ran, else the one value.
        ci: 95 % bootstrap interval over test rows, if computed.
        signature: Every option that changes the value.
        seeds: One value a seed; empty when one run was made.
    """

    value: float
    ci: tuple[float, float] | None = None
    signature: str = ""
    seeds: tuple[float, ...] = ()

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds (n - 1)."""
        return statistics.stdev(self.seeds) if self.seeds else None

    @property
    def half_width(self) -> float | None:
        """Half the width of the interval."""
        return None if self.ci is None else (self.ci[1] - self.ci[0]) / 2


@dataclass(frozen=True)
class Results:
    """A parsed ``results.json``.

    Attributes:
        systems: Metrics by system, absent ones left out.
        run: The facts of the run.
        labels: How systems are called, where the study says so.
        starts: The system that each trained system went on from.
    """

    systems: dict[str, dict[str, Metric]]
    run: dict[str, Any] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    starts: dict[str, str] = field(default_factory=dict)

    def title_of(self, system: str) -> str:
        """How a system is called in tables and pictures."""
        return visible(self.labels.get(system) or SYSTEM_TITLES.get(system) or system.replace("_", " "))

    def measured(self, name: str, systems: list[str] | None = None) -> dict[str, Metric]:
        """The systems (all, or those named) that have this metric."""
        among = self.systems if systems is None else systems
        return {system: self.systems[system][name] for system in among if name in self.systems[system]}

    @property
    def references(self) -> list[Metric]:
        """The references' language consistency: one value, or several where the systems met different references.

        Empty for results of before it was measured, and for source-only text.
        """
        found = {metric.value: Metric(metric.value, metric.ci) for metric in self.measured(REFERENCES).values()}
        return [found[value] for value in sorted(found)]

    @property
    def trained(self) -> list[str]:
        """Every system but the base model."""
        return [system for system in self.systems if system != BASE]


def load_results(path: Path) -> dict[str, Any]:
    """Reads and checks ``results.json``.

    Raises:
        ValueError: If the file is missing or is not what a study writes; names the file and the remedy.
    """
    results = read_json(path, f"{REMEDY}.")
    parse(results, source=str(path))
    return results


def parse(results: Any, source: str = "results") -> Results:
    """Turns the dictionary of ``results.json`` into numbers; ``null`` and NaN count as not measured."""
    systems = results.get("systems") if isinstance(results, Mapping) else None
    if not isinstance(systems, Mapping) or not systems:
        raise ValueError(f'{source}: "systems" must name at least one system. {REMEDY}.')
    run = results.get("run") or {}
    if not isinstance(run, Mapping):
        raise ValueError(f'{source}: "run" must be an object, got {run!r}. {REMEDY}.')
    parsed: dict[str, dict[str, Metric]] = {}
    for system, body in systems.items():
        metrics = body.get("metrics", {}) if isinstance(body, Mapping) else None
        if not isinstance(metrics, Mapping):
            raise ValueError(f'{source}: systems.{system} must hold an object "metrics". {REMEDY}.')
        parsed[system] = {}
        for name, raw in metrics.items():
            try:
                metric = _metric(raw)
            except (AttributeError, KeyError, TypeError, ValueError) as error:
                where = f"{source}: systems.{system}.metrics.{name}"
                raise ValueError(f"{where} must be {METRIC_FORM}, got {raw!r}. {REMEDY}.") from error
            if metric is not None:
                parsed[system][name] = metric
    labels = {system: str(body["label"]) for system, body in systems.items() if body.get("label")}
    starts = {system: str(body["from"]) for system, body in systems.items() if body.get("from")}
    return Results(parsed, dict(run), labels, starts)


def _metric(raw: Mapping[str, Any]) -> Metric | None:
    """One entry; ``None`` if it holds no finite value."""
    seeds = tuple(float(v) for v in raw.get("seeds") or () if v is not None and math.isfinite(v))
    value = statistics.fmean(seeds) if len(seeds) > 1 else raw["value"]
    if value is None or not math.isfinite(value):
        return None
    low, high = raw.get("ci") or (None, None)
    ci = None if low is None or high is None or not math.isfinite(high - low) else (float(low), float(high))
    return Metric(float(value), ci, str(raw.get("signature", "")), seeds if len(seeds) > 1 else ())
