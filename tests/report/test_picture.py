"""Pictures: valid, never blank, and no pyplot."""

import io
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from semalign_pl.report import quality_against_tax, reward_curves
from semalign_pl.report.curves import curve, running_mean
from semalign_pl.report.picture import arrows, style_of
from semalign_pl.report.results import parse
from semalign_pl.report.table import grid


def pixels(png: bytes) -> np.ndarray:
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    image = np.asarray(Image.open(io.BytesIO(png)).convert("RGB")).astype(float)
    assert image.shape[1] == 1200 and image.std() > 5
    return image


def has_colour(image: np.ndarray, hexadecimal: str) -> bool:
    wanted = [int(hexadecimal[at : at + 2], 16) for at in (1, 3, 5)]
    return bool((np.abs(image - wanted).max(axis=2) < 3).any())


def halves(image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image[:, :600], image[:, 600:]


def test_both_panels_show_every_system(results, tmp_path):
    path = quality_against_tax(results, tmp_path / "picture.png")
    for half in halves(pixels(path.read_bytes())):
        assert all(has_colour(half, colour) for colour in ("#666666", "#E69F00", "#D55E00", "#0072B2"))


def test_arrows_go_from_each_system_to_those_that_went_on_from_it(results):
    systems = results["systems"]
    systems["bleu"] = {"from": "strong_sft", "metrics": systems["semantic_grpo"]["metrics"]}
    parsed = parse(results)
    points = {system: (metrics["nll_change_mean"], metrics["chrf"]) for system, metrics in parsed.systems.items()}
    assert [(system, start) for system, start, _ in arrows(points, parsed)] == [
        ("strong_sft", (0.12, 40.0)),
        ("semantic_grpo", (0.12, 40.0)),
        ("bleu", (0.64, 60.0)),
    ], "base, whose arrow would say nothing, has none"


def test_systems_beside_the_papers_are_told_apart(results):
    for number in range(6):
        results["systems"][f"other {number}"] = {"metrics": {}}
    parsed = parse(results)
    assert len({style_of(system, parsed) for system in parsed.systems}) == len(parsed.systems) == 10


@pytest.mark.parametrize("missing", ["semantic_similarity", "nll_change_mean", "cmrc_f1"])
def test_a_missing_metric_never_blanks_the_picture(results, tmp_path, missing):
    for body in results["systems"].values():
        del body["metrics"][missing]
    left, right = halves(pixels(quality_against_tax(results, tmp_path / "picture.png").read_bytes()))
    assert has_colour(left, "#0072B2") == (missing != "nll_change_mean")
    assert has_colour(right, "#0072B2") == (missing != "cmrc_f1")


def test_no_metric_at_all_still_says_so(tmp_path):
    png = quality_against_tax({"systems": {"a": {"metrics": {}}}}, tmp_path / "picture.png").read_bytes()
    assert len(png) > 3000


def test_any_names_any_metrics_with_seeds(results, tmp_path):
    systems = {f"run ${n}_$": body for n, body in enumerate(results["systems"].values())}
    for number, body in enumerate(systems.values()):
        body["metrics"]["mine"] = {"value": number, "ci": None, "seeds": [number - 0.1, number + 0.1]}
    path = quality_against_tax({"systems": systems}, tmp_path / "p.png", quality="chrf", tax="mine")
    assert has_colour(halves(pixels(path.read_bytes()))[0], "#009E73")


def test_curves_of_one_run_and_of_several(log):
    one, two = log(60), log(40)
    assert has_colour(pixels(reward_curves(one)), "#0072B2")
    assert has_colour(pixels(reward_curves({"seed-1": one, "seed-2": two})), "#0072B2")
    assert len(reward_curves([])) > 3000


def test_curve_skips_blanks_and_takes_step_columns():
    rows = [{"step": "0", "train/kl": ""}, {"step": "4", "train/kl_step": "0.5"}, {"step": "5", "train/kl": "nan"}]
    assert curve(rows, "train/kl") == {4: 0.5}


def test_running_mean_is_over_shared_steps():
    assert running_mean([{0: 1.0, 1: 2.0}, {0: 3.0}]) == {0: 2.0}
    assert running_mean([dict.fromkeys(range(100), 2.0)]) == dict.fromkeys(range(100), 2.0)


def test_pyplot_stays_out(tmp_path):
    code = (
        "import sys, pathlib; from semalign_pl.report import quality_against_tax as q; "
        "q({'systems': {'a': {'metrics': {}}}}, pathlib.Path(sys.argv[1])); print('matplotlib.pyplot' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "p.png")], capture_output=True, text=True, check=True
    )
    assert run.stdout == "False\n"


def test_a_line_shows_the_references_own_consistency(results, tmp_path):
    def dark_in_longest_row() -> int:
        path = quality_against_tax(results, tmp_path / "picture.png", quality="language_consistency")
        grey = np.abs(halves(pixels(path.read_bytes()))[0] - 0x66).max(axis=2) < 12
        return int(grey.sum(axis=1).max())

    for number, body in enumerate(results["systems"].values()):
        body["metrics"]["language_consistency"] = {"value": number / 5, "ci": None, "signature": ""}
    without = dark_in_longest_row()
    for body in results["systems"].values():
        body["metrics"]["language_consistency_references"] = {"value": 0.5, "ci": None, "signature": ""}
    assert dark_in_longest_row() > without + 150, "a dashed line goes across the panel"


def test_costs_of_the_study_s_own(results, tmp_path):
    costs = {"frontier": {"costs": ["nll_change_mean", "piqa_accuracy"]}}
    for number, body in enumerate(results["systems"].values()):
        del body["metrics"]["cmrc_f1"]
        body["metrics"]["piqa_accuracy"] = {"value": 60.0 + number, "ci": None}
    _, right = halves(pixels(quality_against_tax(results | costs, tmp_path / "picture.png").read_bytes()))
    assert has_colour(right, "#0072B2")
    assert [column.name for column in grid(results | costs).cost] == costs["frontier"]["costs"]
