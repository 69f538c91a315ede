"""Area under each system's frontier, with every variant of a sweep: also of those that were not chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .json_values import as_list, as_number, as_object, get_object
from .results import REMEDY, Results


@dataclass(frozen=True)
class Areas:
    """Areas of one system or variant, as text.

    Attributes:
        title: Title of the system.
        variant: Name of the variant; empty if the system was not swept.
        is_chosen: True if its frontier is the system's in the comparison.
        areas: Area with its interval per cost.
    """

    title: str
    variant: str
    is_chosen: bool
    areas: list[str]


def list_areas(results: Mapping[str, object], parsed: Results, costs: list[str]) -> list[Areas]:
    """Areas of all systems, and of all variants of swept ones; empty if the study compared no frontiers.

    Args:
        results: Dictionary of ``results.json``.
        parsed: The same, parsed.
        costs: Metrics of general ability.

    Raises:
        ValueError: If an area is malformed.
    """
    frontier = get_object(results, "frontier")
    sweeps, rows = get_object(frontier, "sweeps"), list[Areas]()
    try:
        for system, areas in get_object(frontier, "hypervolumes").items():
            title = parsed.title_of(system)
            if system not in sweeps:
                rows.append(Areas(title, "", True, _texts(areas, costs)))
            for name, variant in get_object(sweeps, system).items():
                shown = _texts(get_object(variant, "hypervolumes"), costs)
                rows.append(Areas(title, name, name == parsed.folder_of(system), shown))
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"results: frontier.hypervolumes is malformed ({error!r}). {REMEDY}.") from error
    return rows


def _texts(areas: object, costs: list[str]) -> list[str]:
    texts = []
    for cost in costs:
        one = as_object(as_object(areas)[cost])
        ends = "" if one["ci"] is None else " to ".join(f"{as_number(end):.4g}" for end in as_list(one["ci"]))
        texts.append(f"{as_number(one['value']):.4g}" + (f" ({ends})" if ends else ""))
    return texts
