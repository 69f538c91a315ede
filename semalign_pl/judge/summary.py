"""Figures of many judgements: win rate, order bias, agreement and cost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

import torch

from semalign_pl.functional.bootstrap import percentile_interval, resample_sums
from semalign_pl.judge.records import Judgement

N_BOOTSTRAP = 1000
SEED = 12345


@dataclass(frozen=True)
class Estimate:
    """A figure with its 95 % bootstrap interval over items.

    Attributes:
        value: Value over all items.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """Figures of judgements by one or several judges.

    Attributes:
        items: Number of items with a verdict.
        judgements: Number of judgements with a verdict.
        unreadable: Number of judgements without a verdict; they count in nothing but the cost.
        win_rate: Win rate of A: mean over items of A's share, where a tie and two orders that disagree are half a win.
            Each judge has the same weight within an item.
        wins_a: Number of judgements that prefer A.
        wins_b: Number of judgements that prefer B.
        ties: Number of judgements that prefer neither.
        items_a: Number of items of which A's share is above a half.
        items_b: Number of items of which A's share is below a half.
        order_bias: Share of judgements that prefer the answer shown first, less the share that prefer the one shown
            second: 0 without a bias, 1 if the first always wins.
        order_agreement: Share of items, per judge, whose two orders have the same winner; ``None`` if no item was
            judged in both orders.
        judge_agreement: Share of items on which two judges agree (A, B or a tie, by the mean over orders), by the
            judges' names.
        prompt_tokens: Tokens that the judges read.
        completion_tokens: Tokens that the judges wrote.
    """

    items: int
    judgements: int
    unreadable: int
    win_rate: Estimate
    wins_a: int
    wins_b: int
    ties: int
    items_a: int
    items_b: int
    order_bias: Estimate
    order_agreement: float | None
    judge_agreement: Mapping[tuple[str, str], float]
    prompt_tokens: int
    completion_tokens: int


def summarise(judgements: Sequence[Judgement], n_bootstrap: int = N_BOOTSTRAP, seed: int = SEED) -> Summary:
    """Figures of judgements; for one judge alone, give only this judge's.

    Args:
        judgements: Judgements of one or several judges on the same two systems.
        n_bootstrap: Number of resamples of the items.
        seed: Seed of the resampling.

    Raises:
        ValueError: If no judgement has a verdict.
    """
    readable = [one for one in judgements if one.winner is not None]
    if not readable:
        raise ValueError(
            f"none of {len(judgements)} judgements has a verdict; look at the judges' answers, and mend the rubric"
        )
    shares = _shares(readable)
    items = list(dict.fromkeys(id for id, _ in shares))
    of_item: dict[str, list[float]] = defaultdict(list)
    for (id, _), share in shares.items():
        of_item[id].append(share)
    # Per item: A's share, 1, judgements for the first place less those for the second, judgements.
    bias, count = dict.fromkeys(items, 0.0), dict.fromkeys(items, 0.0)
    for one in readable:
        bias[one.id] += 0.0 if one.winner == "tie" else 1.0 if one.winner == one.first else -1.0
        count[one.id] += 1
    statistics = torch.tensor([[fmean(of_item[id]), 1.0, bias[id], count[id]] for id in items], dtype=torch.float64)
    return Summary(
        items=len(items),
        judgements=len(readable),
        unreadable=len(judgements) - len(readable),
        win_rate=_ratio(statistics[:, :2], n_bootstrap, seed),
        wins_a=sum(one.winner == "a" for one in readable),
        wins_b=sum(one.winner == "b" for one in readable),
        ties=sum(one.winner == "tie" for one in readable),
        items_a=int((statistics[:, 0] > 0.5).sum()),
        items_b=int((statistics[:, 0] < 0.5).sum()),
        order_bias=_ratio(statistics[:, 2:], n_bootstrap, seed),
        order_agreement=_order_agreement(readable),
        judge_agreement=_judge_agreement(shares),
        prompt_tokens=sum(one.prompt_tokens or 0 for one in judgements),
        completion_tokens=sum(one.completion_tokens or 0 for one in judgements),
    )


def _shares(readable: Sequence[Judgement]) -> dict[tuple[str, str], float]:
    """A's share by item and judge, the mean over orders."""
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for one in readable:
        assert one.value is not None
        values.setdefault((one.id, one.judge), {}).setdefault(one.first, []).append(one.value)
    return {key: fmean(fmean(of_order) for of_order in orders.values()) for key, orders in values.items()}


def _ratio(statistics: torch.Tensor, n_bootstrap: int, seed: int) -> Estimate:
    """Ratio of two sums over items."""
    total, sums = statistics.sum(0), resample_sums(statistics, n_bootstrap, seed)
    low, high = percentile_interval((sums[:, 0] / sums[:, 1]).tolist())
    return Estimate((total[0] / total[1]).item(), low, high)


def _order_agreement(readable: Sequence[Judgement]) -> float | None:
    winners: dict[tuple[str, str], dict[str, str | None]] = defaultdict(dict)
    for one in readable:
        winners[one.id, one.judge][one.first] = one.winner
    both = [orders["a"] == orders["b"] for orders in winners.values() if len(orders) == 2]
    return fmean(both) if both else None


def _judge_agreement(shares: Mapping[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Share of equal winners of each two judges, over the items that both judged."""
    sides: dict[str, dict[str, int]] = defaultdict(dict)
    for (id, judge), share in shares.items():
        sides[judge][id] = (share > 0.5) - (share < 0.5)
    agreement = {}
    for one, other in combinations(sides, 2):
        common = [id for id in sides[one] if id in sides[other]]
        if common:
            agreement[one, other] = fmean(sides[one][id] == sides[other][id] for id in common)
    return agreement
