"""Item records of a test, ``items.jsonl``: what its scores are computed from, one line per item."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from semalign_pl.files.atomic import write_text
from semalign_pl.files.json_text import to_json
from semalign_pl.types import Item


def write_items(folder: Path, items: Sequence[Item], system: str, point: str = "end") -> None:
    """Write ``items.jsonl``.

    Args:
        folder: Folder of the run; made if absent.
        items: Items in the order of resampling; items of a set with an id in common get a suffix.
        system: Name of the system that was tested.
        point: Point of the system that was tested: ``end``, ``step-N`` or ``scale-S``.
    """
    path = folder / "items.jsonl"
    write_text(path, "".join(to_json(_row(item, system, point), path) + "\n" for item in with_unique_ids(items)))


def with_unique_ids(items: Sequence[Item]) -> list[Item]:
    """Items with ids that are unique in their set, in the same order.

    >>> [item.id for item in with_unique_ids([Item("a", "1", {}), Item("a", "1", {}), Item("b", "1", {})])]
    ['1', '1#2', '1']
    """
    places: dict[str, list[int]] = {}
    for place, item in enumerate(items):
        places.setdefault(item.set, []).append(place)
    result = list(items)
    for of_set in places.values():
        for place, name in zip(of_set, unique_ids(items[place].id for place in of_set), strict=True):
            result[place] = replace(items[place], id=name)
    return result


def unique_ids(ids: Iterable[str]) -> list[str]:
    """Ids in the same order; the second of two equal ones gets the suffix ``#2``, and so on.

    >>> unique_ids(["a", "b", "a", "a", "a#2"])
    ['a', 'b', 'a#3', 'a#4', 'a#2']
    """
    names = list(ids)
    used, counts = set(names), dict.fromkeys(names, 0)
    for place, name in enumerate(names):
        counts[name] += 1
        if counts[name] > 1:
            while f"{name}#{counts[name]}" in used:
                counts[name] += 1
            names[place] = f"{name}#{counts[name]}"
            used.add(names[place])
    return names


def _row(item: Item, system: str, point: str) -> dict[str, object]:
    return {
        "set": item.set,
        "id": item.id,
        "system": system,
        "point": point,
        "statistics": {name: list(values) for name, values in item.statistics.items()},
        "text": item.text,
    }
