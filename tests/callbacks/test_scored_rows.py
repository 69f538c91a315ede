"""Rows of a test that several processes score."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch

from semalign_pl.callbacks.scored_rows import ScoredRow, gather, unscored_rows
from semalign_pl.types import Example


def scored(names: list[str]) -> list[ScoredRow]:
    return unscored_rows([Example(name, "", "") for name in names], [""] * len(names))


@pytest.mark.parametrize(
    ("ranks", "expected"),
    [
        ([["0", "2", "4"], ["1", "3"]], ["0", "1", "2", "3", "4"]),  # every row is scored: file order
        ([["6"], ["1", "3", "5"]], ["6", "1", "3", "5"]),  # rows 0, 2 and 4 are raw text
        ([[], ["1", "1"]], ["1", "1#2"]),
    ],
)
def test_no_row_of_a_rank_is_lost(monkeypatch: pytest.MonkeyPatch, ranks: list[list[str]], expected: list[str]) -> None:
    def all_gather_object(shards: list[Any], rows: list[ScoredRow]) -> None:
        shards[:] = [rows, *map(scored, ranks[1:])]

    monkeypatch.setattr(torch.distributed, "all_gather_object", all_gather_object)
    rows = gather(scored(ranks[0]), cast(Any, SimpleNamespace(world_size=2)))
    assert [row.line["id"] for row in rows] == expected
