"""Frontier, dial and report agree on which of the documented metrics are costs, and on the example of an own probe."""

import re
from pathlib import Path

import pytest

from semalign_pl.frontier.resampled import less_is_better
from semalign_pl.functional.cost import rises
from semalign_pl.report.results import REFERENCES, column_of

PAGE = (Path(__file__).parents[2] / "docs" / "measuring.md").read_text(encoding="utf-8")
TABLES = PAGE.split("## Quality in the new language")[1].split("## Items")[0]
ROWS = [line.split("|")[1] for line in TABLES.splitlines() if line.startswith("| `")]
METRICS = [name for row in ROWS for name in re.findall(r"`(\w+)`", row) if name != REFERENCES]
OWN = re.findall(r'score_items\(items, "(\w+)"', PAGE)


def test_the_page_lists_metrics() -> None:
    assert {"chrf", "cmrc_f1", "kl_p90", "forward_kl"} <= set(METRICS) and OWN == ["quiz_accuracy"]


@pytest.mark.parametrize("name", METRICS + OWN)
def test_a_metric_has_one_direction(name: str) -> None:
    assert less_is_better(name) == rises(name) == (not column_of(name).higher_is_better)
