"""``results.json``: accepted files, and messages about others."""

import json
import subprocess
import sys

import pytest

from semalign_pl.report import load_results
from semalign_pl.report.results import column_of, parse


def test_missing_and_malformed_files_name_the_file_and_the_remedy(tmp_path):
    path = tmp_path / "results.json"
    with pytest.raises(ValueError, match=r"results\.json: cannot be read.*Run the study again"):
        load_results(path)
    path.write_text("{", encoding="utf-8")
    with pytest.raises(ValueError, match=r"results\.json: not valid JSON.*Run the study again"):
        load_results(path)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], '"systems" must name'),
        ({"systems": {}}, '"systems" must name'),
        ({"systems": {"base": 3}}, "systems.base must hold"),
        ({"systems": {"base": {"metrics": {"chrf": 3.0}}}}, "systems.base.metrics.chrf must be"),
        ({"systems": {"base": {"metrics": {"chrf": {"value": "high"}}}}}, "got {'value': 'high'}"),
        ({"systems": {"base": {"metrics": {"chrf": {"value": 1, "ci": [1]}}}}}, "systems.base.metrics.chrf"),
        ({"systems": {"base": {"metrics": {}}}, "run": [1]}, '"run" must be an object'),
    ],
)
def test_wrong_shapes_name_the_field(tmp_path, content, said):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError) as error:
        load_results(path)
    assert said in str(error.value) and "results.json" in str(error.value) and "Run the study again" in str(error.value)


def test_null_and_nan_are_not_measured_and_seeds_are_averaged():
    metrics = {
        "chrf": {"value": None},
        "bleu4": {"value": float("nan")},
        "rouge_l": {"value": 9.0, "ci": None, "seeds": [0.1, 0.3]},
        "kl_mean": {"value": 0.5, "ci": [None, None], "seeds": [0.5]},
    }
    parsed = parse({"systems": {"a": {"metrics": metrics}}}).systems["a"]
    assert set(parsed) == {"rouge_l", "kl_mean"}
    assert parsed["rouge_l"].value == pytest.approx(0.2) and parsed["rouge_l"].sd == pytest.approx(0.02**0.5)
    assert parsed["kl_mean"].sd is None and parsed["kl_mean"].half_width is None


def test_numbers_are_rounded_without_negative_zero():
    assert column_of("nll_change_mean").format(-0.0001) == "+0.000"
    assert column_of("nll_change_mean").format(0.64) == "+0.640"
    assert column_of("chrf").format(59.96) == "60.0"


def test_a_metric_of_one_task_or_of_a_named_probe_is_presented_as_the_metric():
    news, change = column_of("news_chrf"), column_of("chat_zh_nll_change_mean")
    assert (news.name, news.heading, news.format(59.96)) == ("news_chrf", "chrF (news) ↑", "60.0")
    assert (change.heading, change.format(0.64)) == ("NLL change (chat_zh) ↓", "+0.640")
    assert column_of("time_f1").heading == "time f1 ↑"


def test_importing_the_package_is_cheap():
    code = (
        "import sys, semalign_pl.report; print({'matplotlib', 'jinja2', 'rich', 'torch', 'numpy'} & set(sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"
