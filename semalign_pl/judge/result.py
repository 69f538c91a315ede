"""Results of ``semalign judge``: the content of ``judge.json``, the table, and sentences about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING

from semalign_pl.functional.significance import mcnemar
from semalign_pl.judge.flags import Price
from semalign_pl.judge.records import Judgement
from semalign_pl.judge.session import Verdicts
from semalign_pl.judge.summary import N_BOOTSTRAP, SEED, Summary, summarise
from semalign_pl.types import Json

if TYPE_CHECKING:
    import rich.table

ALL = "all judges"
FEWEST_ITEMS = 6
"""Fewest items to call a system preferred: five wins of five happen by chance in 1 of 16 cases (2 · 0.5⁵ > 0.05)."""
LARGEST_P = 0.05
"""Largest p-value of the sign test over items to call a system preferred."""


def figures_of(
    summary: Summary, verdicts: Sequence[Verdicts], prices: Mapping[str, Price], signature: str
) -> dict[str, Json]:
    """Figures of one judge or of several together, for JSON.

    Args:
        summary: Summary of their judgements.
        verdicts: Verdicts of these judges.
        prices: Prices by judge.
        signature: Every option that changes the figures.
    """
    fields = asdict(summary)
    fields["judge_agreement"] = [
        {"judges": list(names), "agreement": share} for names, share in summary.judge_agreement.items()
    ]
    cost: dict[str, Json] = {key: fields.pop(key) for key in ("prompt_tokens", "completion_tokens")}
    cost["seconds"] = round(sum(one.seconds for one in verdicts), 3)
    tokens = {one.name: _tokens(one) for one in verdicts}
    if all(name in prices and any(read_and_written) for name, read_and_written in tokens.items()):
        cost["money"] = sum(prices[name].of(*read_and_written) for name, read_and_written in tokens.items())
    counts = ("asked_again", "cached", "requests", "failed_requests")
    totals = {name: sum(getattr(one, name) for one in verdicts) for name in counts}
    return {**fields, "refused": sum(len(one.refused) for one in verdicts), **totals, "cost": cost} | {
        "signature": f"{signature}|bootstrap:{N_BOOTSTRAP}|seed:{SEED}"
    }


def _tokens(verdicts: Verdicts) -> tuple[int, int]:
    """Tokens that a judge read and wrote."""
    of_judge = verdicts.judgements
    return sum(one.prompt_tokens or 0 for one in of_judge), sum(one.completion_tokens or 0 for one in of_judge)


def all_figures(
    verdicts: Sequence[Verdicts], prices: Mapping[str, Price], signatures: Mapping[str, str]
) -> dict[str, dict[str, Json]]:
    """Figures per judge, and of all together if there are several.

    Args:
        verdicts: Verdicts of each judge.
        prices: Prices by judge.
        signatures: Signature by judge.

    Raises:
        ValueError: If a judge gave no verdict at all.
    """
    figures: dict[str, dict[str, Json]] = {}
    for one in verdicts:
        try:
            summary = summarise(one.judgements)
        except ValueError as error:
            raise ValueError(f"{one.name}: {error}") from error
        figures[one.name] = figures_of(summary, [one], prices, signatures[one.name])
    if len(verdicts) > 1:
        summary = summarise([judgement for one in verdicts for judgement in one.judgements])
        figures[ALL] = figures_of(summary, verdicts, prices, " + ".join(signatures.values()))
    return figures


def make_table(figures: Mapping[str, Mapping[str, Json]]) -> rich.table.Table:
    """Table with a row per judge.

    Args:
        figures: Figures by judge.
    """
    import rich.table

    from semalign_pl.messages.console import Text

    table = rich.table.Table("judge")
    for title in ("win rate of A", "A / tie / B", "order bias", "orders agree", "no verdict"):
        table.add_column(title, justify="right", no_wrap=title in ("win rate of A", "A / tie / B"))
    for name, one in figures.items():
        agreement = one["order_agreement"]
        cells = [
            format_estimate(one["win_rate"], 100, " %"),
            f"{one['wins_a']} / {one['ties']} / {one['wins_b']}",
            f"{_number(_mapping(one['order_bias'])['value']):+.2f}",
            f"{100 * agreement:.0f} %" if isinstance(agreement, float) else "–",
            str(one["unreadable"]),
        ]
        table.add_row(*(Text(cell) for cell in (name, *cells)))
    return table


def sentences(figures: Mapping[str, Mapping[str, Json]], verdicts: Sequence[Verdicts]) -> list[str]:
    """Sentences about the figures: who wins, order bias, agreement, and answers without a verdict.

    Args:
        figures: Figures by judge.
        verdicts: Verdicts of each judge.
    """
    lines = []
    judgements = {one.name: one.judgements for one in verdicts}
    for name, one in figures.items():
        rate = _mapping(one["win_rate"])
        items_a, items_b = (int(_number(one[key])) for key in ("items_a", "items_b"))
        p = mcnemar(items_a, items_b)  # exact two-sided sign test over items, ties left out
        # With few items the bootstrap interval alone is too narrow; with several judges, the two may contradict.
        a_wins = _number(rate["low"]) > 0.5 and items_a > items_b and p <= LARGEST_P
        b_wins = _number(rate["high"]) < 0.5 and items_b > items_a and p <= LARGEST_P
        winner = "A" if a_wins else "B" if b_wins else None
        shown = format_estimate(rate, 100, " %")
        verdict = f"{winner} is preferred" if winner else "no difference is shown"
        if _number(one["items"]) < FEWEST_ITEMS:
            verdict = f"too few items to tell, at least {FEWEST_ITEMS} are needed"
        lines.append(
            f"{name}: {verdict}: win rate of A {shown} over {_count(one['items'], 'item')}, sign test p = {p:.2g}"
        )
        bias = _mapping(one["order_bias"])
        unbalanced = _in_one_order(judgements.get(name, []))
        if unbalanced:
            have = "has" if unbalanced == 1 else "have"
            lines.append(f"{name}: {_count(unbalanced, 'item')} {have} a verdict in one order only, and count with it")
        if name != ALL and _number(bias["low"]) * _number(bias["high"]) > 0:
            place = "first" if _number(bias["value"]) > 0 else "second"
            effect = "so this favours neither side" if not unbalanced else "but not each has both verdicts"
            lines.append(
                f"{name}: prefers the answer that it is shown {place} (order bias {format_estimate(bias)}); each pair "
                f"is shown in both orders, {effect}"
            )
        pairs = one["judge_agreement"]
        assert isinstance(pairs, list)
        for pair in pairs:
            both = _mapping(pair)
            names = both["judges"]
            assert isinstance(names, list)
            lines.append(f"{' and '.join(map(str, names))} agree on {100 * _number(both['agreement']):.0f} % of items")
    for one in verdicts:
        cost = _mapping(figures[one.name]["cost"])
        money = f", price {_number(cost['money']):.4g}" if "money" in cost else ""
        lines.append(
            f"{one.name}: {cost['prompt_tokens']:,} tokens read, {cost['completion_tokens']:,} written{money}; "
            f"{one.requests} requests now, {one.failed_requests} of them failed and were tried again, {one.cached} "
            "answers from an earlier command"
        )
        if not any(_tokens(one)):
            lines.append(f"{one.name}: its server sends no numbers of tokens, so the cost is not known")
        if one.refused:
            were = "was" if len(one.refused) == 1 else "were"
            lines.append(f"{one.name}: {_count(len(one.refused), 'question')} {were} refused: {one.refused[0]}")
        silent = sum(judgement.winner is None for judgement in one.judgements) - len(one.refused)
        if silent:
            lines.append(
                f"{one.name}: {silent} of {len(one.judgements)} answers have no verdict, though asked twice; they "
                "count in no figure but the cost. See winner null in judgements.jsonl; a larger --max-tokens "
                "mends answers that are cut off"
            )
    return lines


def _in_one_order(judgements: Sequence[Judgement]) -> int:
    """Number of items of one judge that have a verdict in one of the two orders only."""
    return sum(orders == 1 for orders in Counter(one.id for one in judgements if one.winner is not None).values())


def _count(number: Json, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def format_estimate(estimate: Json, factor: float = 1.0, unit: str = "") -> str:
    """Value and interval of an estimate.

    Args:
        estimate: Estimate as JSON.
        factor: Factor of all three numbers.
        unit: Unit after the value.

    >>> format_estimate({"value": 0.61, "low": 0.5, "high": 0.7}, 100, " %")
    '61.0 % [50.0, 70.0]'
    """
    value, low, high = (factor * _number(_mapping(estimate)[key]) for key in ("value", "low", "high"))
    digits = 1 if factor > 1 else 2
    return f"{value:.{digits}f}{unit} [{low:.{digits}f}, {high:.{digits}f}]"


def _mapping(value: Json) -> dict[str, Json]:
    assert isinstance(value, dict)
    return value


def _number(value: Json) -> float:
    assert isinstance(value, int | float)
    return float(value)
