from __future__ import annotations

import pytest
from helpers.pairs import PAIRS

from semalign_pl.judge.pairs import Pair


@pytest.fixture(scope="session")
def pairs() -> list[Pair]:
    """Twenty pairs; the text of an answer says its item and its side."""
    rows = [(n, PAIRS[n]["zh"], PAIRS[n]["bo"]) for n in range(1, 21)]
    return [Pair(f"test.jsonl:{n}", zh, bo, f"བོད་{n} left", f"བོད་{n} right") for n, zh, bo in rows]
