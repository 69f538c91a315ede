"""The comparison, in a terminal and in Markdown."""

from io import StringIO

import pytest
from rich.console import Console

from semalign_pl.report import comparison, markdown


def drawn(results, width: int) -> str:
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(comparison(results))
    return console.file.getvalue()


def cells(results) -> dict[str, list[str]]:
    lines = [line for line in markdown(results).splitlines() if line.startswith("|")]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {row[0]: row[1:] for row in rows}


def test_markdown_has_a_row_a_system_and_a_gap_before_the_costs(results):
    table = cells(results)
    assert table["System"] == [
        *("chrF ↑", "Semantic similarity ↑", "*general ability lost* ▸"),
        *("CMRC EM ↑", "CMRC F1 ↑", "NLL change ↓", "KL to base ↓"),
    ]
    strong = ["**60.0** ±2.0", "**0.828** ±0.010", "", "20.6 ±1.0", "62.9 ±3.0", "+0.640 ±0.050", "–"]
    assert table["Strong SFT"] == strong
    assert table["Semantic GRPO"][:3] == ["45.0 ±2.0", "0.716 ±0.010", ""]
    assert "half a 95 % bootstrap interval" in markdown(results)


def test_seeds_become_mean_and_standard_deviation(results):
    results["systems"]["strong_sft"]["metrics"]["chrf"]["seeds"] = [58.0, 60.0, 65.0]
    assert cells(results)["Strong SFT"][0] == "**61.0** ±3.6"
    assert "standard deviation over seeds" in markdown(results)


def test_best_is_bold_among_trained_systems_only_and_ties_share_it(results):
    results["systems"]["base"]["metrics"]["chrf"]["value"] = 99.0
    results["systems"]["semantic_grpo"]["metrics"]["chrf"]["value"] = 60.01
    column = {name: row[0] for name, row in cells(results).items()}
    assert "**" not in column["Base"]
    assert column["Strong SFT"].startswith("**60.0**") and column["Semantic GRPO"].startswith("**60.0**")
    text = comparison(results).columns[1]._cells[3]
    assert text.plain == "60.0\n±2.0" and "bold" in str(text.style) and "dim" in str(text.spans[0].style)


def test_other_names_and_missing_metrics(results):
    del results["systems"]["base"]["metrics"]["chrf"]
    results["systems"]["[red]a|b_c"] = {"metrics": {}}
    assert cells(results)["Base"][0] == "–"
    assert r"\[red\]a\|b c" in markdown(results)
    assert "[red]a|b" in drawn(results, 160)


def test_a_label_is_the_rows_name(results):
    results["systems"]["strong_sft"]["label"] = "BLEU + [language]"
    assert r"BLEU + \[language\]" in cells(results)
    assert "BLEU + [language]" in drawn(results, 160)


@pytest.mark.parametrize("width", [80, 160])
def test_no_number_is_cut_in_a_terminal(results, width):
    shown = {
        **{"bleu4": (68.438, "68.4"), "chrf": (77.122, "77.1"), "rouge_l": (0.836, "0.836")},
        **{"semantic_similarity": (0.732, "0.732"), "language_consistency": (0.994, "0.994")},
        **{"cmrc_em": (56.5, "56.5"), "cmrc_f1": (58.5, "58.5"), "nll_change_mean": (0.209, "+0.209")},
        "kl_mean": (0.422, "0.422"),
    }
    for body in results["systems"].values():
        for name, (value, _) in shown.items():
            ci = [value - 0.015, value + 0.015]
            body["metrics"][name] = {"value": value, "ci": ci, "signature": "", "seeds": [*ci, value]}
    text = drawn(results, width)
    assert "…" not in text and max(map(len, text.splitlines())) <= width
    for _, value in shown.values():
        assert text.count(value) == 4, value
    assert text.count("±0.015") == 4 * 5 and text.count("│") >= 4


def with_references(results, *values: float):
    for body, value in zip(results["systems"].values(), values, strict=False):
        score = {"value": 0.53, "ci": [0.49, 0.57], "signature": "consistency"}
        ceiling = {"value": value, "ci": [value - 0.04, value + 0.04], "signature": "consistency|texts:references"}
        body["metrics"] |= {"language_consistency": score, "language_consistency_references": ceiling}
    return results


def test_the_references_own_consistency_is_the_last_row(results):
    table = cells(with_references(results, *[0.58] * 4))
    assert list(table)[-1] == "References"
    assert table["References"] == ["–", "–", "0.580 ±0.040", "", "–", "–", "–", "–"]
    assert "practical ceiling" in markdown(results) and "0.580" in drawn(results, 80)
    assert not any("references" in heading for heading in table["System"]), "it is a row, not one more column"


def test_different_references_are_a_range(results):
    table = cells(with_references(results, 0.58, 0.5, 0.58, 0.61))
    assert table["References"][2] == "0.500 to 0.610"


def test_results_of_before_have_no_row_of_references(results):
    assert "References" not in cells(results) and "ceiling" not in markdown(results)
