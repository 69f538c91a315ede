"""One sentence that sums up the results, computed from the metrics and their spread."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .results import BASE, Column, Metric, Results, column_of, parse

SURFACE = ("chrf", "rouge_l", "bleu4")


def verdict(results: Mapping[str, object]) -> str:
    """Sentence that says which system gained more, which lost less, and which differences are within noise.

    It compares the finished systems: all but the base model and the systems that others were trained from (such as the
    cold start), unless fewer than two remain. Quality is semantic similarity and one surface metric, because the reward
    usually optimised the former. General ability lost is the NLL change and CMRC F1.

    Args:
        results: Dictionary of ``results.json``.

    Raises:
        ValueError: If ``results`` is malformed.
    """
    parsed = parse(results)
    systems = _contestants(parsed)
    if len(systems) < 2:
        return f"Only {parsed.title_of(systems[0])} was measured, so there is nothing to compare."
    surface = next((name for name in SURFACE if len(parsed.values_of(name, systems)) > 1), SURFACE[0])
    quality = _clauses(parsed, systems, ("semantic_similarity", surface))
    lost = _clauses(parsed, systems, ("nll_change_mean", "cmrc_f1"))
    clauses = [
        *(quality or ["quality was not measured for two systems"]),
        *(lost or ["general ability lost was not measured for two systems"]),
    ]
    metrics = [metric for system in systems for metric in parsed.systems[system].values()]
    if any(metric.ci for metric in metrics) and not any(metric.seeds for metric in metrics):
        clauses.append("with one seed, noise between training runs is not part of these margins")
    sentence = "; ".join(clauses)
    return f"{sentence[0].upper()}{sentence[1:]}."


def margin(a: Metric, b: Metric) -> float | None:
    """Half-width of a 95 % interval of the difference ``a - b``, for independent systems.

    There are two sources of noise: training runs (Welch's t over seeds) and test rows (bootstrap). If both are known,
    they are added in quadrature.

    Args:
        a: Metric of the first system.
        b: Metric of the second system.

    Returns:
        Half-width, or ``None`` if no source of noise is known for both systems.
    """
    margins: list[float] = []
    if a.sd is not None and b.sd is not None:
        variances = a.sd**2 / len(a.seeds), b.sd**2 / len(b.seeds)
        total = sum(variances)
        spread = variances[0] ** 2 / (len(a.seeds) - 1) + variances[1] ** 2 / (len(b.seeds) - 1)
        margins.append(_t_quantile(total**2 / spread) * math.sqrt(total) if spread else 0.0)
    if a.half_width is not None and b.half_width is not None:
        margins.append(math.hypot(a.half_width, b.half_width))
    return math.hypot(*margins) if margins else None


def _t_quantile(freedom: float) -> float:
    """97.5 % quantile of Student's t distribution; the degrees of freedom are rounded down."""
    from scipy.special import stdtrit

    return float(stdtrit(max(1, int(freedom)), 0.975))


def _contestants(parsed: Results) -> list[str]:
    """Finished systems; if fewer than two, also systems that others were trained from, then also the base model."""
    for left_out in ({BASE, *parsed.starts.values()}, {BASE}, set[str]()):
        systems = [system for system in parsed.systems if system not in left_out]
        if len(systems) > 1:
            break
    return systems


def _clauses(parsed: Results, systems: list[str], names: tuple[str, ...]) -> list[str]:
    """Clause per metric, for the metrics that at least two systems have."""
    return [
        _clause(parsed, column_of(name), measured)
        for name in names
        if len(measured := parsed.values_of(name, systems)) > 1
    ]


def _clause(parsed: Results, column: Column, measured: dict[str, Metric]) -> str:
    """Clause on one metric: the leading system, its lead over the second, and the noise."""
    ranked = sorted(measured, key=lambda s: measured[s].value, reverse=column.higher_is_better)
    first, second = measured[ranked[0]], measured[ranked[1]]
    winner, loser = parsed.title_of(ranked[0]), parsed.title_of(ranked[1])
    gap, noise = abs(first.value - second.value), margin(first, second)
    values = column.format(first.value), column.format(second.value)
    unit = f" {column.unit}" if column.unit else ""
    name = column.title if column.title[:2].isupper() or column.name in SURFACE else column.title.lower()
    if gap == 0 or (noise is not None and gap <= noise):
        between = "" if len(measured) == 2 else " between the first two"
        by = f"difference {column.format_spread(gap)}" + ("" if noise is None else f" ±{column.format_spread(noise)}")
        reading = "zero" if noise is None else "within noise"
        return f"the difference in {name}{between} is {reading} ({winner} {values[0]}, {loser} {values[1]}{unit}; {by})"
    by = f"by {column.format_spread(gap)}" + (
        ", with no comparable spread to tell it from noise" if noise is None else f" ±{column.format_spread(noise)}"
    )
    lead = _lead(parsed, column, name, measured)
    return f"{winner} {lead} ({values[0]} against {values[1]}{unit} for {loser}, {by})"


def _lead(parsed: Results, column: Column, name: str, measured: dict[str, Metric]) -> str:
    """Verb phrase on the leading system: it has more, lost less or, if no system lost, gained more."""
    pair = len(measured) == 2
    base = parsed.systems.get(BASE, {}).get(column.name)
    if column.name == "cmrc_f1" and base is not None and BASE not in measured:
        losses = [base.value - metric.value for metric in measured.values()]
    elif not column.higher_is_better:
        losses = [metric.value for metric in measured.values()]
    else:
        return f"has the {'higher' if pair else 'highest'} {name}"
    if max(losses) <= 0:
        return f"gained {'more' if pair else 'most'} by {name}, where none lost"
    return f"lost {'less' if pair else 'least'} by {name}"
