"""Sentences on which system costs less at equal quality, written from the verdicts of a study's frontiers alone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

from .results import REMEDY, Column, Results, column_of, parse

ITEM_WORDS = {"cmrc": "questions", "drift": "texts", "test": "test rows"}
NO_FRONTIER = (
    "These are end points of unequal quality, so they do not tell which system keeps more general ability. "
    "To compare at equal quality, give study.yaml the key frontier and run semalign study again"
)


def verdict(results: Mapping[str, object]) -> str:
    """Sentences of all verdicts, or that there is nothing to compare.

    Args:
        results: Dictionary of ``results.json``.

    Raises:
        ValueError: If ``results`` is malformed.
    """
    return " ".join(verdicts(results))


def verdicts(results: Mapping[str, object]) -> list[str]:
    """One sentence per verdict, then the limits that hold for all of them.

    A verdict speaks of general ability at equal quality only if `frontier.verdicts` measured it: end points of unequal
    quality are not compared.

    Args:
        results: Dictionary of ``results.json``.

    Raises:
        ValueError: If ``results`` is malformed.
    """
    parsed = parse(results)
    frontier = results.get("frontier")
    if frontier is None:
        return [_without_frontier(parsed)]
    try:
        return _with_frontier(parsed, frontier, results.get("choice"))
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        problem = f"{type(error).__name__}: {error}"
        raise ValueError(
            f'results: "frontier" is not of the form that a study writes ({problem}). {REMEDY}.'
        ) from error


def with_sentences(results: Mapping[str, object]) -> dict[str, object]:
    """Copy of ``results.json`` whose ``frontier.verdicts`` have a ``sentence`` each.

    Args:
        results: Dictionary of ``results.json``.

    Raises:
        ValueError: If ``results`` is malformed.
    """
    parsed, frontier = parse(results), results.get("frontier")
    if not _is_object(frontier):
        return dict(results)
    quality = column_of(str(frontier["quality"]))
    entries = [{**entry, "sentence": _sentence(parsed, quality, entry)} for entry in _entries(frontier)]
    return {**results, "frontier": {**frontier, "verdicts": entries}}


def _without_frontier(parsed: Results) -> str:
    trained = [parsed.title_of(system) for system in parsed.trained] or [parsed.title_of(s) for s in parsed.systems]
    if len(trained) == 1:
        return f"Only {trained[0]} was measured, so there is nothing to compare."
    return f"{', '.join(trained[:-1])} and {trained[-1]} were measured. {NO_FRONTIER}."


def _with_frontier(parsed: Results, frontier: object, choice: object) -> list[str]:
    if not _is_object(frontier):
        raise TypeError("it is no object")
    quality = column_of(str(frontier["quality"]))
    entries = _entries(frontier)
    sentences = [_sentence(parsed, quality, entry) for entry in entries]
    sentences += _selection(parsed, frontier, choice)
    seeds = {entry["seeds"] for entry in entries}
    if 1 in seeds:
        sentences.append("With one seed, noise between trainings is not in these intervals.")
    if 2 in seeds:
        sentences.append("With two seeds, noise between trainings is estimated from two values, so it may be larger.")
    seen = frontier.get("quality_seen_by")
    if _is_object(seen) and seen:
        systems = " and ".join(parsed.title_of(system) for system in seen)
        sentences.append(
            f"{quality.title} was part of the reward of {systems}, so it measures how well that reward was fitted, too."
        )
    return list(dict.fromkeys(sentences)) or ["The frontiers of fewer than two systems were measured."]


def _selection(parsed: Results, frontier: Mapping[str, object], choice: object) -> list[str]:
    """Sentence on the choice of variants, if systems were swept."""
    chosen_before = _is_object(choice)
    sweeps = choice["sweeps"] if _is_object(choice) else frontier.get("sweeps")
    if not _is_object(sweeps) or not sweeps:
        return []
    curves, choices = frontier["curves"], []
    if not _is_object(curves):
        raise TypeError("curves is no object")
    for system in (system for system in sweeps if system in curves):  # one tested on other items has no curve
        curve, variants = curves[system], sweeps[system]
        if not _is_object(curve) or not _is_object(variants):
            raise TypeError("a curve or a sweep is no object")
        choices.append(f"{parsed.title_of(system)} is {curve['variant']}, chosen of {len(variants)}")
    where = "other data than the test set" if chosen_before else "the test set"
    return [f"{', '.join(choices)}: by hypervolume on {where}, for all systems alike."] if choices else []


def _entries(frontier: Mapping[str, object]) -> list[Mapping[str, object]]:
    entries = frontier["verdicts"]
    if not isinstance(entries, list) or not all(map(_is_object, entries)):
        raise TypeError("verdicts is no list of objects")
    return entries


def _sentence(parsed: Results, quality: Column, entry: Mapping[str, object]) -> str:
    """Sentence of one verdict."""
    a, b = (parsed.title_of(str(entry[key])) for key in ("a", "b"))
    at = None if entry["quality"] is None else _number(entry["quality"])
    if entry["outcome"] == "no common range":
        return _apart(a, b, quality, at, _pair(entry["reach"]))
    column, less_is_better = column_of(str(entry["metric"])), entry["less_is_better"] is True
    value, (low, high) = _number(entry["difference"]), map(_number, _pair(entry["ci"]))
    unit = f" {column.unit}" if column.unit else ""
    size = f"{column.format_spread(abs(value))} ± {column.format_spread((high - low) / 2)}"
    place = f"At {quality.title} {at:.3g}" if at is not None else f"Over {quality.title} {_range(entry['range'])}"
    words = ITEM_WORDS.get(str(entry["item_set"]).partition("/")[0], "items")
    tested = f"{_seeds(entry['seeds'])}, {entry['items']} {words}"
    if entry["outcome"] == "not distinguishable":
        apart = low > 0 or high < 0
        p = f"; p {_number(entry['p_holm']):.2g} after Holm's correction" if apart else ""
        return f"{place}, {a} and {b} are not distinguishable in {column.title} (difference {size}{unit}{p}; {tested})."
    winner, loser = (a, b) if entry["outcome"] == "a" else (b, a)
    on_average = "" if at is not None else "on average "
    if less_is_better:
        return f"{place}, {column.title} of {winner} is {on_average}{size}{unit} lower than that of {loser} ({tested})."
    points = " points" if not column.unit and column.digits <= 1 else unit
    return f"{place}, {winner} keeps {on_average}{size} more {column.title}{points} than {loser} ({tested})."


def _apart(a: str, b: str, quality: Column, at: float | None, reach: tuple[object, object]) -> str:
    """Sentence on two systems that do not reach the same quality."""
    (low_a, high_a), (low_b, high_b) = (tuple(map(_number, _pair(each))) for each in reach)
    place = "No common range" if at is None else f"No comparison at {quality.title} {at:.3g}"
    if unlike := [name for name, low, high in ((a, low_a, high_a), (b, low_b, high_b)) if low > high]:
        return f"{place}: the seeds of {' and of '.join(unlike)} reach no {quality.title} in common."
    low, high = max(low_a, low_b), min(high_a, high_b)
    reached = low < high if at is None else low <= at <= high
    close = ", but more than 5 % of the resamples do not reach both" if reached else ""
    return f"{place}: {a} reaches {quality.title} {_range(reach[0])}, {b} {_range(reach[1])}{close}."


def _is_object(value: object) -> TypeGuard[Mapping[str, object]]:
    return isinstance(value, Mapping)


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _pair(value: object) -> tuple[object, object]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise TypeError(f"{value!r} is no pair")
    return value[0], value[1]


def _range(value: object) -> str:
    low, high = map(_number, _pair(value))
    return f"{low:.3g}–{high:.3g}"


def _seeds(count: object) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
