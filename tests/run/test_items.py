"""Items as they are written: unique ids, one JSON object per line."""

from __future__ import annotations

import json
from pathlib import Path

from semalign_pl.run.items import unique_ids, write_items
from semalign_pl.types import Item


def test_ids_are_unique_in_their_set(tmp_path: Path) -> None:
    names = [("a", "1"), ("b", "1"), ("a", "1"), ("a", "1#2"), ("a", "1")]
    items = [
        Item(of, name, {"m": [float(place), 2.0]}, text=f"文\u2028{place}") for place, (of, name) in enumerate(names)
    ]
    write_items(tmp_path / "run", items, "sft", "scale-0.5")
    lines = (tmp_path / "run" / "items.jsonl").read_text(encoding="utf-8").split("\n")
    assert lines.pop() == ""
    rows = [json.loads(line) for line in lines]
    assert [(row["set"], row["id"]) for row in rows] == [
        ("a", "1"), ("b", "1"), ("a", "1#3"), ("a", "1#2"), ("a", "1#4"),
    ]  # fmt: skip
    assert rows[4] == {
        "set": "a",
        "id": "1#4",
        "system": "sft",
        "point": "scale-0.5",
        "statistics": {"m": [4.0, 2.0]},
        "text": "文\u20284",
    }


def test_many_equal_ids() -> None:
    assert unique_ids(["x"] * 4) == ["x", "x#2", "x#3", "x#4"]
    assert unique_ids(["x", "y"]) == ["x", "y"]
