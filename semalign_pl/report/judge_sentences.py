"""Sentences on the judged pairs of a study."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import fmean

from .json_values import as_list, as_number, as_object
from .results import REMEDY, Results, column_of, parse_metrics

WIN = column_of("judge_win")


def judge_sentences(results: Mapping[str, object], parsed: Results) -> list[str]:
    """One sentence per judged pair: who won how often, and how far the judge can be trusted.

    Args:
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.

    Raises:
        ValueError: If the entry ``judge`` is not of the form that a study writes.
    """
    try:
        return [_sentence(as_object(entry), parsed) for entry in as_list(results.get("judge", []))]
    except (KeyError, TypeError) as error:
        raise ValueError(f'results: "judge" is not of the form that a study writes ({error}). {REMEDY}.') from error


def _sentence(entry: Mapping[str, object], parsed: Results) -> str:
    names = [str(entry["a"]), str(entry["b"])]
    wins = parse_metrics(entry["wins"], "results: judge")
    bias = fmean(map(as_number, as_list(entry["order_bias"])))
    agreement = [as_number(one) for one in as_list(entry["order_agreement"]) if one is not None]
    unreadable = sum(map(as_number, as_list(entry["unreadable"])))
    won = []
    for name in names:
        ci = wins[name].ci
        interval = "" if ci is None else f" [{WIN.format(ci[0])}, {WIN.format(ci[1])}]"
        won.append(f"{parsed.title_of(name)} wins {WIN.format(wins[name].value)} %{interval}")
    trust = f"order bias {bias:+.2f}" + (
        f", both orders agree on {fmean(agreement):.0%} of the items" if agreement else ""
    )
    missing = f"; {unreadable:.0f} answers have no verdict" if unreadable else ""
    return f"Judge: {', '.join(won)}, the rest are ties ({trust}{missing})."
