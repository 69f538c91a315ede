"""Metrics of a comparison: the quality at which systems are compared, and the costs that are compared."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from semalign_pl.functional.cost import less_is_better, names_direction
from semalign_pl.messages.terminal import visible

QUALITY, COSTS = "chrf", ("cmrc_f1", "nll_change_mean")


def choose_metrics(
    quality: str | None, costs: Sequence[str], measured: Collection[str], where: str
) -> tuple[str, tuple[str, ...]]:
    """Quality and costs of a comparison, with defaults filled in.

    Args:
        quality: Metric of the new language; ``None`` for chrF.
        costs: Metrics of general ability; empty for CMRC F1 and NLL change, as far as they are measured.
        measured: Metrics that the base model's test has items of.
        where: Folder of that test, for messages.

    Raises:
        ValueError: If the direction of a metric cannot be told or is the wrong one, or there is no cost.
    """
    quality, costs = quality or QUALITY, tuple(costs) or tuple(name for name in COSTS if name in measured)
    if not costs:
        raise ValueError(f"{where}: has items of no cost ({', '.join(COSTS)}); name one in frontier.costs")
    if unclear := next((name for name in (quality, *costs) if not names_direction(name)), None):
        raise ValueError(
            f"frontier: cannot tell whether more or less of {visible(unclear)} is better; name a metric with the word "
            "em, f1, avg or accuracy (more is better), or nll, kl, loss, perplexity, error or wer (less is better)"
        )
    if less_is_better(quality):
        raise ValueError(f"frontier.quality: {visible(quality)} is a cost; name a metric of the new language")
    return quality, costs
