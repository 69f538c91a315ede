"""A paper's tables beside a study's: numbers, order of rows, and malformed files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from semalign_pl.report.paper_tables import check_published, compare_published, read_published
from semalign_pl.report.paper_tables_text import markdown_tables
from semalign_pl.report.results import parse

TABLE = {
    "title": "Main",
    "metrics": ["bleu4", "kl_p90"],
    "rows": {"a": [60.0, None], "b": [45.0, 0.1], "c": [39.5, 0.2]},
}
PUBLISHED = {"source": "arXiv 0", "tables": {"main": TABLE}}


def metric(*seeds: float, half: float = 1.0) -> dict[str, Any]:
    value = sum(seeds) / len(seeds)
    return {"value": value, "ci": [value - half, value + half], "signature": "s", "seeds": list(seeds)}


def results(**bleu: dict[str, Any]) -> dict[str, Any]:
    return {"systems": {name: {"metrics": {"bleu4": one}} for name, one in bleu.items()}, "published": PUBLISHED}


def test_each_number_has_its_counterpart_or_none() -> None:
    rows = compare_published(check_published(PUBLISHED, ""), parse(results(a=metric(50.0, 52.0), b=metric(40.0))))
    cells = rows["main"]["rows"]
    assert cells["a"]["bleu4"] == {"paper": 60.0, "ours": 51.0, "ci": [50.0, 52.0], "seeds": [50.0, 52.0]}
    assert cells["a"]["kl_p90"] == {"paper": None, "ours": None, "ci": None, "seeds": []}
    assert cells["b"]["bleu4"]["seeds"] == [40.0], "of one seed, too"
    assert cells["c"]["bleu4"] == {"paper": 39.5, "ours": None, "ci": None, "seeds": []}


def test_the_order_of_every_pair_is_compared_whichever_way_it_comes_out() -> None:
    """By hand: a > b > c in the paper; here b is first in the mean and in one of two seeds."""
    ours = results(a=metric(50.0, 40.0), b=metric(45.0, 47.0), c=metric(44.5, 10.0))
    order = compare_published(check_published(PUBLISHED, ""), parse(ours))["main"]["order"]
    assert list(order) == ["bleu4"], "the study measured no KL"
    assert order["bleu4"] == [
        {"higher": "a", "lower": "b", "same": False, "seeds": [1, 2], "apart": False},
        {"higher": "a", "lower": "c", "same": True, "seeds": [2, 2], "apart": True},
        {"higher": "b", "lower": "c", "same": True, "seeds": [2, 2], "apart": True},
    ]
    text = markdown_tables(ours, parse(ours))
    assert "| a | 60.0 | 45.0 ±7.1 [44.0, 46.0] | – | – |" in text
    assert "BLEU-4: 2 of 3 pairs of rows have the paper's order; b is not below a (intervals overlap)." in text


def test_equal_numbers_are_not_in_the_papers_order() -> None:
    ours = results(a=metric(1.0), b=metric(1.0))
    (pair,) = compare_published(check_published(PUBLISHED, ""), parse(ours))["main"]["order"]["bleu4"]
    assert not pair["same"] and pair["seeds"] == [0, 1] and not pair["apart"]


def test_a_row_that_is_not_measured_is_named_beside_the_order_of_the_others() -> None:
    ours = results(a=metric(3.0), b=metric(1.0))
    assert "BLEU-4: the order of all measured rows is the paper's (the intervals of 1 overlap); not measured: c." in (
        markdown_tables(ours, parse(ours))
    )
    whole = results(a=metric(9.0), b=metric(5.0), c=metric(1.0))
    assert "BLEU-4: the order of all rows is the paper's." in markdown_tables(whole, parse(whole))


def test_rows_of_different_seeds_are_not_compared_seed_by_seed() -> None:
    """A seed without a finite value is left out, so that the values after it belong to other seeds."""
    ours = results(a=metric(4.0, 1.0), b=metric(3.0, 2.0, 2.0))
    (pair,) = compare_published(check_published(PUBLISHED, ""), parse(ours))["main"]["order"]["bleu4"]
    assert pair["same"] and pair["seeds"] == [0, 0]


def test_a_study_without_a_paper_has_no_tables() -> None:
    ours = {"systems": {"a": {"metrics": {}}}}
    assert markdown_tables(ours, parse(ours)) == ""


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("- a", "has no source and tables; write `source: arXiv 2605.14366` and `tables:"),
        ("source: x", "has no source and tables"),
        ("{source: x, tables: {t: {rows: {}}}}", "tables.t: {'rows': {}} has not the keys title, metrics, rows"),
        (
            "{source: x, tables: {t: {title: t, metrics: [], rows: {a: []}}}}",
            "tables.t: has no list of metrics or no rows",
        ),
        ("{source: x, tables: {t: {title: t, metrics: [m], rows: {a: [1, 2]}}}}", "t.rows.a: [1, 2] is no list of 1"),
        ("{source: x, tables: {t: {title: t, metrics: [m], rows: {a: [yes]}}}}", "t.rows.a: True is no number"),
    ],
)
def test_a_malformed_file_is_one_line(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "published.yaml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(ValueError) as refused:
        read_published(file)
    assert str(refused.value).startswith(f"{file}: ") and said in str(refused.value)
    assert "\n" not in str(refused.value)
