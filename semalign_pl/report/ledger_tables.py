"""The ledger of questions as tables: how many each system unlearned and learned, and the worst with both answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .json_values import as_list, as_number, as_object, get_object
from .results import REMEDY, Results, column_of
from .text_language import guess_language


@dataclass(frozen=True)
class Answer:
    """Answer of one system to a question.

    Attributes:
        title: Title of the system.
        text: Answer; a dash if none was kept.
        lang: Code of its language.
        right: Seeds that answered right, such as ``2 of 5 seeds``.
    """

    title: str
    text: str
    lang: str
    right: str


@dataclass(frozen=True)
class Comparison:
    """One system against another.

    Attributes:
        title: Title of the system.
        against: Title of the other one.
        lost: Number of questions right for the other and wrong for the system.
        gained: Number of questions wrong for the other and right for the system.
        undecided: Number of questions that half of the seeds of either answered right.
        p: Exact p-value of McNemar's test.
        p_holm: The same after Holm's correction.
        worst: Id and both answers of the questions with the largest drop.
    """

    title: str
    against: str
    lost: int
    gained: int
    undecided: int
    p: str
    p_holm: str
    worst: list[tuple[str, list[Answer]]]


@dataclass(frozen=True)
class Ledger:
    """Ledger of one probe.

    Attributes:
        title: Title of its metric.
        items: Number of questions.
        comparisons: Comparisons, in the study's order.
    """

    title: str
    items: int
    comparisons: list[Comparison]


def read_ledger(results: Mapping[str, object], parsed: Results) -> list[Ledger]:
    """Ledgers of a study, one per probe; empty if the study has none.

    Args:
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.

    Raises:
        ValueError: If a ledger is malformed.
    """
    ledgers = get_object(results, "frontier", "ledger")
    try:
        return [_ledger(metric, as_object(raw), parsed) for metric, raw in ledgers.items()]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"results: frontier.ledger is malformed ({error!r}). {REMEDY}.") from error


def _ledger(metric: str, raw: Mapping[str, object], parsed: Results) -> Ledger:
    comparisons = [_comparison(as_object(one), parsed) for one in as_list(raw["comparisons"])]
    return Ledger(column_of(metric).title, _count(raw["items"]), comparisons)


def _comparison(raw: Mapping[str, object], parsed: Results) -> Comparison:
    return Comparison(
        title=parsed.title_of(str(raw["system"])),
        against=parsed.title_of(str(raw["against"])),
        lost=_count(raw["lost"]),
        gained=_count(raw["gained"]),
        undecided=_count(raw["undecided"]),
        p=format_p(as_number(raw["p"])),
        p_holm=format_p(as_number(raw["p_holm"])),
        worst=[(str(one["id"]), _answers(one, parsed)) for one in map(as_object, as_list(raw["worst"]))],
    )


def _answers(raw: Mapping[str, object], parsed: Results) -> list[Answer]:
    answers, counts = [], as_object(raw["right"])
    for system, text in as_object(raw["answers"]).items():
        right, seeds = map(_count, as_list(counts[system]))
        of_seeds = f"right in {right} of {seeds} seeds" if seeds > 1 else "right" if right else "wrong"
        shown = "–" if text is None else str(text)
        answers.append(Answer(parsed.title_of(system), shown, guess_language(shown), of_seeds))
    return answers


def _count(value: object) -> int:
    return int(as_number(value))


def format_p(p: float) -> str:
    """P-value as text.

    >>> format_p(0.0321), format_p(0.00001)
    ('0.032', '< 0.001')
    """
    return "< 0.001" if p < 0.001 else f"{p:.2g}" if p < 1 else "1"
