"""The table of decisions in docs/normal_form.md agrees with the rules."""

import re
import unicodedata
from pathlib import Path

import pytest

from semalign_pl.languages import get_language

TABLE = Path(__file__).parents[2] / "docs" / "normal_form.md"
ROWS = re.findall(r"^\| (.+?) \| `(.+?)` \| `(.+?)` \| (.+?) \|", TABLE.read_text(encoding="utf-8"), re.M)


def test_the_table_is_read_whole() -> None:
    lines = [line for line in TABLE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    assert len(ROWS) == len(lines) - 1 >= 20  # without the heading


@pytest.mark.parametrize(("decision", "before", "after", "source"), ROWS, ids=[row[0] for row in ROWS])
def test_decision(decision: str, before: str, after: str, source: str) -> None:
    normalise = get_language("bo").normalise
    assert normalise(before) == after and source
    assert normalise(after) == after
    assert normalise(unicodedata.normalize("NFD", before)) == after
    if "Dzongkha" in decision:
        assert get_language("dz").normalise(before) == before
