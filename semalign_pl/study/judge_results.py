"""Results of a study's judge steps, over all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from semalign_pl.study.joined import RunMetric, StudyMetric, SystemEntry, mean_metric
from semalign_pl.study.judge_settings import JudgePair

if TYPE_CHECKING:
    from semalign_pl.judge.records import Judgement, Side

WIN = "judge_win"
"""Metric of a judged system: judgements that it won, in percent."""


class JudgeEntry(TypedDict):
    """One judged pair in the ``results.json`` of a study."""

    a: str
    b: str
    rubric: str
    wins: dict[str, StudyMetric]
    order_bias: list[float]
    order_agreement: list[float | None]
    unreadable: list[int]
    tokens: list[list[int]]


def read_judge_results(pairs: Sequence[JudgePair], out: Path, seeds: int) -> list[JudgeEntry]:
    """Read the judgements of all pairs.

    Args:
        pairs: Judged pairs of the study.
        out: Folder of the study.
        seeds: Number of seeds.

    Returns:
        Per pair: each system's ``wins`` (see `count_wins`), and per seed what `judge.summary.summarise` returns.

    Raises:
        ValueError: If a file of judgements is malformed; names file and line.
    """
    from semalign_pl.judge.records import read_judgements
    from semalign_pl.judge.summary import summarise

    entries: list[JudgeEntry] = []
    for pair in pairs:
        files = [out / f"seed-{seed}" / "judge" / pair.name / "judgements.jsonl" for seed in range(seeds)]
        judgements = [read_judgements(file) for file in files]
        figures = [summarise(one) for one in judgements]
        wins = {
            pair.a: mean_metric([count_wins(one, "a", pair.b) for one in judgements]),
            pair.b: mean_metric([count_wins(one, "b", pair.a) for one in judgements]),
        }
        entries.append(
            {
                "a": pair.a,
                "b": pair.b,
                "rubric": pair.rubric,
                "wins": wins,
                "order_bias": [one.order_bias.value for one in figures],
                "order_agreement": [one.order_agreement for one in figures],
                "unreadable": [one.unreadable for one in figures],
                "tokens": [[one.prompt_tokens, one.completion_tokens] for one in figures],
            }
        )
    return entries


def count_wins(judgements: Sequence[Judgement], side: Side, other: str) -> RunMetric:
    """Share of the judgements with a verdict that a side won, in percent; a tie is no win.

    Args:
        judgements: Judgements of one pair, by all judges and in both orders.
        side: Side to count the wins of.
        other: Name of the other system, for the signature.

    Returns:
        Metric with the 95 % bootstrap interval over items.
    """
    import torch

    from semalign_pl.functional.bootstrap import percentile_interval, resample_sums
    from semalign_pl.judge.summary import N_BOOTSTRAP, SEED

    counts: dict[str, list[float]] = {}
    for one in judgements:
        if one.winner is not None:
            won, total = counts.setdefault(one.id, [0.0, 0.0])
            counts[one.id] = [won + (one.winner == side), total + 1]
    statistics = torch.tensor(list(counts.values()), dtype=torch.float64)
    won, total = statistics.sum(0).tolist()
    sums = resample_sums(statistics, N_BOOTSTRAP, SEED)
    judges = ",".join(sorted({one.judge for one in judgements}))
    return {
        "value": 100 * won / total,
        "ci": [100 * bound for bound in percentile_interval((sums[:, 0] / sums[:, 1]).tolist())],
        "signature": f"judges:{judges}|rubric:{judgements[0].rubric}|against:{other}|ties:no win|orders:both",
    }


def add_wins(systems: Mapping[str, SystemEntry], entries: Sequence[JudgeEntry]) -> None:
    """Add the metric ``judge_win`` to the systems, of the first pair that each is in.

    Args:
        systems: Entry ``systems`` of the study's ``results.json``, which is changed.
        entries: Entry ``judge``.
    """
    for entry in entries:
        for name, metric in entry["wins"].items():
            if name in systems:
                systems[name].setdefault("metrics", {}).setdefault(WIN, metric)
