"""Parse ``results.json``, and define the title, digits and direction of each metric."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from semalign_pl.files.documents import read_json
from semalign_pl.messages.terminal import visible
from semalign_pl.types import Json

BASE = "base"
REFERENCES = "language_consistency_references"
"""Language consistency of the test set's own references, which each test reports next to the system's."""
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
    """Presentation of one metric.

    Attributes:
        name: Key of the metric in ``results.json``.
        title: Title in headings, axes and sentences.
        digits: Number of decimals.
        higher_is_better: True if a higher value is better.
        unit: Unit, shown in sentences and on axes; may be empty.
        signed: Flag to write a plus sign before positive values; for changes.
        short: Shorter heading for the terminal; empty to use the title.
    """

    name: str
    title: str
    digits: int = 3
    higher_is_better: bool = True
    unit: str = ""
    signed: bool = False
    short: str = ""

    def format(self, value: float) -> str:
        """Rounded value as text, without negative zero."""
        return f"{round(value, self.digits) + 0.0:{'+' if self.signed else ''}.{self.digits}f}"

    def format_spread(self, value: float) -> str:
        """Rounded spread or difference of this metric as text, without a plus sign."""
        return f"{value:.{self.digits}f}"

    @property
    def heading(self) -> str:
        """Title, and an arrow in the direction that is better."""
        return f"{self.title} {self.arrow}"

    @property
    def arrow(self) -> str:
        """Arrow in the direction that is better."""
        return "↑" if self.higher_is_better else "↓"

    @property
    def axis(self) -> str:
        """Title and unit, for an axis."""
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
    Column("judge_win", "Judge win", digits=1, unit="%"),
    Column("forward_kl", "Forward KL", higher_is_better=False, unit="nats/token"),
    Column("kl_p90", "KL to base, P90", higher_is_better=False, unit="nats/token"),
    Column("nll_change_p90", "NLL change, P90", higher_is_better=False, unit="nats/token", signed=True),
)
COLUMNS = {column.name: column for column in (*QUALITY, *COST, *OTHER)}


def column_of(name: str) -> Column:
    """Presentation of a metric; an unknown metric has its key as title, and its direction by `less_is_better`.

    >>> column_of("news_chrf").heading, column_of("time_f1").heading
    ('chrF (news) ↑', 'time f1 ↑')
    >>> column_of("asr_wer").higher_is_better
    False
    """
    if name in COLUMNS:
        return COLUMNS[name]
    for known, column in COLUMNS.items():  # of one task of a mix, or of a probe with a name of its own
        if name.endswith(f"_{known}"):
            of = visible(name.removesuffix(f"_{known}"))
            return replace(column, name=name, title=f"{column.title} ({of})", short="")
    from semalign_pl.functional.cost import less_is_better

    return Column(name, visible(name.replace("_", " ")), higher_is_better=not less_is_better(name))


@dataclass(frozen=True)
class Metric:
    """One measured number.

    Attributes:
        value: Mean over seeds; the value of the only run if there is one seed.
        ci: 95 % bootstrap interval over test rows (low, high); ``None`` if not computed.
        signature: Every option that changes the value.
        seeds: Value per seed; empty if there is one seed.
    """

    value: float
    ci: tuple[float, float] | None = None
    signature: str = ""
    seeds: tuple[float, ...] = ()

    @property
    def sd(self) -> float | None:
        """Standard deviation over seeds, with n - 1; ``None`` if there is one seed."""
        return statistics.stdev(self.seeds) if self.seeds else None

    @property
    def half_width(self) -> float | None:
        """Half the width of the bootstrap interval; ``None`` without an interval."""
        return None if self.ci is None else (self.ci[1] - self.ci[0]) / 2


@dataclass(frozen=True)
class Results:
    """Parsed ``results.json``.

    Attributes:
        systems: Metrics by system and by name; metrics not measured are left out.
        run: Facts of the run: commands, seeds, times, versions.
        labels: Title by system, for the systems that ``study.yaml`` gives a label.
        starts: System whose adapter the training started from, by trained system.
        chosen: Name of the best variant's folder, by system whose settings were swept.
    """

    systems: dict[str, dict[str, Metric]]
    run: dict[str, object] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    starts: dict[str, str] = field(default_factory=dict)
    chosen: dict[str, str] = field(default_factory=dict)

    def folder_of(self, system: str) -> str:
        """Name of a system's folder in the study: of a swept system, that of its best variant."""
        return self.chosen.get(system, system)

    def title_of(self, system: str) -> str:
        """Title of a system in tables and pictures."""
        return visible(self.labels.get(system) or SYSTEM_TITLES.get(system) or system.replace("_", " "))

    def values_of(self, name: str, systems: list[str] | None = None) -> dict[str, Metric]:
        """One metric by system, for the systems that have it.

        Args:
            name: Key of the metric.
            systems: Systems to look at; ``None`` for all.
        """
        among = self.systems if systems is None else systems
        return {system: self.systems[system][name] for system in among if name in self.systems[system]}

    @property
    def references(self) -> list[Metric]:
        """Language consistency of the references, ascending: one value, or several if the systems' test sets differ.

        Empty for results older than this metric, and for source-only text.
        """
        found = {metric.value: Metric(metric.value, metric.ci) for metric in self.values_of(REFERENCES).values()}
        return [found[value] for value in sorted(found)]

    @property
    def seeds(self) -> list[int] | None:
        """Seeds of the study; ``None`` if the results do not list them."""
        listed = self.run.get("seeds")
        return [seed for seed in listed if isinstance(seed, int)] if isinstance(listed, list) else None

    @property
    def trained(self) -> list[str]:
        """All systems but the base model."""
        return [system for system in self.systems if system != BASE]


def load_results(path: Path) -> dict[str, Json]:
    """Read and check ``results.json``.

    Args:
        path: File to read.

    Returns:
        Content of the file.

    Raises:
        ValueError: If the file is missing or malformed; the message names the file and the remedy.
    """
    results = read_json(path, f"{REMEDY}.")
    parse(results, source=str(path))
    return results


def parse(results: object, source: str = "results") -> Results:
    """Parse the dictionary of ``results.json``; ``null`` and NaN count as not measured.

    Args:
        results: Dictionary of ``results.json``.
        source: Name of the file, for messages.

    Raises:
        ValueError: If the dictionary is not of the form that a study writes.
    """
    content = results if isinstance(results, Mapping) else {}
    systems, run = content.get("systems"), content.get("run") or {}
    if not isinstance(systems, Mapping) or not systems:
        raise ValueError(f'{source}: "systems" must name at least one system. {REMEDY}.')
    if not isinstance(run, Mapping):
        raise ValueError(f'{source}: "run" must be an object, got {run!r}. {REMEDY}.')
    parsed: dict[str, dict[str, Metric]] = {}
    for system, body in systems.items():
        metrics = body.get("metrics", {}) if isinstance(body, Mapping) else None
        if not isinstance(metrics, Mapping):
            raise ValueError(f'{source}: systems.{system} must hold an object "metrics". {REMEDY}.')
        parsed[system] = parse_metrics(metrics, f"{source}: systems.{system}")
    labels = {system: str(body["label"]) for system, body in systems.items() if body.get("label")}
    starts = {system: str(body["from"]) for system, body in systems.items() if body.get("from")}
    chosen = {system: str(body["chosen"]) for system, body in systems.items() if body.get("chosen")}
    return Results(parsed, dict(run), labels, starts, chosen)


def parse_metrics(metrics: object, where: str) -> dict[str, Metric]:
    """Metrics by name, without those that were not measured.

    Args:
        metrics: Object ``metrics`` of a system, a point or a test.
        where: File and path of the object that has it, for messages.

    Raises:
        ValueError: If a metric is malformed.
    """
    parsed: dict[str, Metric] = {}
    for name, raw in metrics.items() if isinstance(metrics, Mapping) else ():
        try:
            metric = _metric(raw)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{where}.metrics.{name} must be {METRIC_FORM}, got {raw!r}. {REMEDY}.") from error
        if metric is not None:
            parsed[name] = metric
    return parsed


def _metric(raw: object) -> Metric | None:
    """One metric of ``results.json``; ``None`` if it has no finite value."""
    if not isinstance(raw, Mapping):
        raise TypeError("a metric is an object")
    seeds = tuple(float(v) for v in raw.get("seeds") or () if v is not None and math.isfinite(v))
    value = statistics.fmean(seeds) if len(seeds) > 1 else raw["value"]
    if value is None or not math.isfinite(value):
        return None
    low, high = raw.get("ci") or (None, None)
    ci = None if low is None or high is None or not math.isfinite(high - low) else (float(low), float(high))
    return Metric(float(value), ci, str(raw.get("signature", "")), seeds if len(seeds) > 1 else ())
