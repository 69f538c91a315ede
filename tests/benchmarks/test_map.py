"""benchmarks/map.py: cells and their commands, and its table for curves with known differences."""

from __future__ import annotations

import copy
import json
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import harness
import map as map_script
import numpy as np
import pytest
from map import CORE, cells_of, command_of, copy_configs, expected_hours, parser, prepare, print_cell, world_command
from map_chart import chart
from map_page import markdown, summary, trends
from map_table import SHOWN, collect, differences, read_cells, seconds_of, with_verdicts
from seed_file import SeedError, pack_points, write_seed

from semalign_pl.frontier.measured_point import MeasuredMetric, MeasuredPoint
from semalign_pl.functional.frontier import Curve
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.study_file import read_study
from semalign_pl.study.systems import Study, System

CONFIGS = Path(__file__).parents[2] / "configs" / "map"
METRICS = ("chrf_any_style", "meaning_accuracy", "cmrc_f1", "nll_change_mean", "styles_nll_change_mean")
IDS = [f"row:{number}" for number in range(100)]


NAMES = ("sft", "keep_sft", "semantic_grpo", "grpo_anchor", "source_only", "best_of_group")


@pytest.fixture
def study() -> Study:
    pairs = [(first, second) for first in NAMES[:2] for second in NAMES[2:5]]
    frontier = FrontierSettings(METRICS[0], METRICS[2:], (0.6,), "base", tuple(pairs), ())
    return Study([System(name, Path(), "base", name.replace("_", " ")) for name in NAMES], frontier)


def curve(quality: list[float], cost: list[float]) -> Curve:
    """Curve of two equal seeds, under two equal resamples."""
    return Curve(np.broadcast_to(quality, (3, 2, len(quality))), np.broadcast_to(cost, (3, 2, len(cost))))


def test_differences_at_matched_quality_and_matched_cost() -> None:
    sft, grpo = curve([80, 50, 20], [6, 3, 0]), curve([80, 50, 20], [3, 1.5, 0])  # straight, so a line is exact
    curves = {"sft": sft, "grpo": grpo, "far": curve([95, 90], [9, 8])}
    meaning = {name: Curve(10 * one.quality, one.cost) for name, one in curves.items()}
    rows = differences(curves, meaning, [("sft", "grpo"), ("grpo", "sft"), ("sft", "far")], "cmrc_f1")
    assert [row["matched"] for row in rows] == ["quality", "cost"] * 3
    # At quality q the costs are (q - 20) / 10 and (q - 20) / 20; at cost c the meanings 200 + 100 c and 200 + 200 c.
    assert [row["value"] for row in rows] == [pytest.approx(v) for v in (-3, 300, 3, -300)] + [None, None]
    assert [row["at"] for row in rows[:4]] == pytest.approx([80, 3, 80, 3])
    assert rows[1]["ci"] == pytest.approx([300, 300])
    assert [row["better"] for row in with_verdicts(rows)] == ["grpo"] * 4 + [None] * 2


def test_a_difference_within_its_interval_has_no_winner() -> None:
    row = {"a": "sft", "b": "grpo", "metric": "cmrc_f1", "matched": "quality", "value": -1.5, "ci": [-3.2, 0.2]}
    rows = with_verdicts([{**row, "p": 0.03}, {**row, "p": 0.04}, {**row, "p": 0.001}])
    assert [row["p_holm"] for row in rows] == pytest.approx([0.06, 0.06, 0.003])
    assert [row["better"] for row in rows] == [None, None, "grpo"]


def point(accuracy: int, f1: int, nll: float) -> MeasuredPoint:
    """Point with 100 items; accuracy and F1 are the number of items that are right."""
    right, answered = (np.arange(100) < count for count in (accuracy, f1))
    drift = {name: np.full(100, nll) for name in METRICS[3:]}
    values = {"chrf_any_style": right * 100.0, "meaning_accuracy": right * 1.0, "cmrc_f1": answered * 100.0, **drift}
    return MeasuredPoint(
        "planted",
        {
            name: MeasuredMetric(
                name, tuple(IDS), one[:, None], "mean", name, (None,) * 100
            )
            for name, one in values.items()
        },
    )  # fmt: skip


def cell(seed: int, grpo_f1: int, names: tuple[str, ...] = NAMES) -> dict[str, Any]:
    """Cell in which all systems are SFT, but for GRPO, which loses less reading comprehension."""
    base = point(0, 90, 0.0)
    runs = {"base": {"points": {"end": dict.fromkeys(SHOWN, 0.0) | {"cmrc_f1": 90.0}}, "seconds": 1.0}}
    runs["base"]["items"] = pack_points([base], METRICS, base)
    for name in names:
        f1 = grpo_f1 if name == "semantic_grpo" else 30
        runs[name] = {
            "path": ["end", "scale-0.6", "base"],
            "points": {"end": dict.fromkeys(SHOWN, 1.0), "scale-0.6": dict.fromkeys(SHOWN, 0.5)},
            "items": pack_points([point(80, f1, 0.3), point(40, (90 + f1) // 2, 0.15)], METRICS, base),
            "budget": {"updates": 100, "examples": 1600, "sampled_tokens": 0, "seconds": 60.0},
            "seconds": 20.0,
        }
    ids = dict.fromkeys(METRICS, IDS)
    condition = CORE["pairs-300-style-1"]
    known = {"mean_cos_drawn_styles": 0.91, "mean_cos_by_wrong_slots": {"1": 0.8, "2": 0.6}, "mean_cos_unrelated": 0.1}
    facts = {"seed": seed, "digest": "d", "condition": condition, "encoder": known, "complete": True}
    machines = [{"processor": "a CPU", "gpu": None}, {"processor": "a CPU", "gpu": "a GPU"}]
    return {**facts, "machines": machines, "runs": runs, "ids": ids}


def test_cells_make_table_and_picture(tmp_path: Path, study: Study) -> None:
    for seed in (0, 1, 2):
        write_seed(tmp_path / "kept" / "pairs-300-style-1", cell(seed, 70))
    unfinished = {key: value for key, value in cell(0, 70).items() if key != "complete"}
    write_seed(tmp_path / "kept" / "pairs-1000-style-1", unfinished)
    cells = read_cells(tmp_path / "kept")
    assert {name: list(seeds) for name, seeds in cells.items()} == {"pairs-300-style-1": [0, 1, 2]}
    assert seconds_of(cells["pairs-300-style-1"][0]) == 1 + 6 * 80
    content = collect(cells, study, draws=200)
    rows = {(row["a"], row["b"], row["metric"], row["matched"]): row for row in content["differences"]}
    # At chrF q, SFT has lost 60 q / 80 and GRPO 20 q / 80. The range ends a little below 80, at the chrF that 97.5 % of
    # the resamples of the items reach.
    assert rows["sft", "semantic_grpo", "cmrc_f1", "quality"]["value"] == pytest.approx(-40, abs=5)
    assert rows["sft", "semantic_grpo", "cmrc_f1", "quality"]["better"] == "semantic_grpo"
    assert rows["sft", "source_only", "cmrc_f1", "quality"]["value"] == 0
    assert rows["sft", "semantic_grpo", "cmrc_f1", "cost"]["value"] > 0.1
    page = markdown(content, study)
    assert "it loses less in 2, more in 0, and 16 are not distinguishable. Less:" in page
    assert re.search(r"^- pairs-300-style-1: semantic grpo against sft, CMRC F1 -3\d\.", page, re.MULTILINE)
    compared = page.split("### semantic grpo against sft\n\n")[1].splitlines()
    assert compared[0] == "| training pairs | difference | style 1 |"
    assert re.fullmatch(r"\| 300 \| F1 lost, equal chrF \| \*\*-3\d\.\d \(-\d+\.\d to -\d+\.\d\)\*\* \|", compared[2])
    assert re.fullmatch(r"\| 300 \| meaning, equal loss \| \*\*\+\d+\.\d \(\+.* to \+.*\)\*\* \|", compared[3])
    same = page.split("### source only against sft\n\n")[1].splitlines()
    assert same[2] == "| 300 | F1 lost, equal chrF | +0.0 (+0.0 to +0.0) |"
    lines = [line for line in page.splitlines() if line.startswith("| pairs-300-style-1 |")]
    # All planted values are 1 at the end and 0.5 at the scale, so the losses are 89 and 89.5 of CMRC F1, and 1 and 0.5.
    choices = "none | none | sft, scale 0.6: 50.0 %, chrF 0.5 | sft: 100.0 %, chrF 1.0"
    assert lines[0] == f"| pairs-300-style-1 | {choices} |"
    assert lines[1] == "| pairs-300-style-1 | 0.910 | 0.800 | 0.100 |"
    assert lines[2] == "| pairs-300-style-1 | base | 0.0 | 0.0 | 90.0 | 0.000 | 0.000 | 0.000 | – |"
    assert len(lines) == 3 + len({name for pair in study.frontier.compare for name in pair})
    assert "| source only | 100 | 1,600 | 0 |" in page and "with 3 seeds each. Style" in page
    assert "Measured on a CPU, a GPU." in page
    none = copy.deepcopy(content)
    for row in none["differences"]:
        row["better"] = None
    nothing = summary(none, ["semantic_grpo"], {})
    assert nothing.startswith("No condition was found") and "Half of the intervals of CMRC F1 are narrower" in nothing
    chart(content, study, tmp_path / "map.png")
    assert (tmp_path / "map.png").read_bytes()[:4] == b"\x89PNG"


def test_the_change_from_wide_to_narrow_references_has_an_interval(study: Study) -> None:
    row = {"a": "sft", "b": "semantic_grpo", "metric": "cmrc_f1", "matched": "quality", "better": None}
    wide = {**row, "condition": "pairs-300-style-0", "value": -2.0, "ci": [-5.0, 1.0]}
    narrow = {**row, "condition": "pairs-300-style-1", "value": -12.0, "ci": [-16.0, -8.0]}
    conditions = dict.fromkeys(["pairs-300-style-0", "pairs-300-style-1"], {"seeds": [0], "encoder": None})
    content = {"conditions": conditions, "differences": [wide, narrow]}
    # Halves of the intervals are 3 and 4, and independent: 5.
    change = "loss of cmrc_f1 at equal quality, semantic_grpo minus sft, from style 0 to style 1"
    assert list(trends(content)) == [f"- pairs-300: {change}: -10.000 ± 5.000, beyond its interval."]
    narrow["value"] = -4.0
    assert next(iter(trends(content))).endswith("-2.000 ± 5.000, not distinguishable from none.")


def test_seeds_of_other_recipes_make_no_table(tmp_path: Path) -> None:
    write_seed(tmp_path / "pairs-300-style-1", cell(0, 70))
    write_seed(tmp_path / "pairs-300-style-1", {**cell(1, 70), "digest": "e"})
    with pytest.raises(SeedError, match="pairs-300-style-1: seeds have the digests d, e; measure them alike"):
        read_cells(tmp_path)


def test_cells_and_their_commands() -> None:
    assert len(CORE) == 9 and len(cells_of([], 3)) == 27
    assert cells_of(["pairs-300-style-1:2", "pairs-1000-style-0-noise-0.2"], 2) == [
        ("pairs-300-style-1", 2),
        ("pairs-1000-style-0-noise-0.2", 0),
        ("pairs-1000-style-0-noise-0.2", 1),
    ]
    with pytest.raises(ValueError, match="--only pairs-7:0: there is no condition pairs-7; give one of pairs-300-styl"):
        cells_of(["pairs-7:0"], 1)
    with pytest.raises(ValueError, match="--only pairs-300-style-1:x: 'x' is no seed"):
        cells_of(["pairs-300-style-1:x"], 1)
    written = world_command("pairs-1000-style-0-noise-0.2", Path("w"), Path("m"))
    assert " ".join(written) == (
        "write w --pairs 1000 --style 0 --noise 0.2 --source-only 10000 --target-only 3000 --models m"
    )
    assert expected_hours(cells_of([], 2), {("pairs-300-style-1", 0): 3600.0}) == 17


def test_recipes_get_the_paths_of_the_condition(tmp_path: Path) -> None:
    recipes, made = tmp_path / "recipes", tmp_path / "made"
    recipes.mkdir()
    (recipes / "sft.yaml").write_text("default_root_dir: runs/map/sft\ntrain: runs/map/world/pairs/train.jsonl\n")
    copy_configs(recipes, Path("runs/map/pairs-300-style-1"), made)
    folder = "runs/map/pairs-300-style-1"
    assert (
        made / "sft.yaml"
    ).read_text() == f"default_root_dir: {folder}/sft\ntrain: {folder}/world/pairs/train.jsonl\n"


def test_dry_run_prints_all_commands_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_cell(("pairs-300-style-1", 1), parser().parse_args(["--out", str(tmp_path / "map")]))
    printed = capsys.readouterr().out.splitlines()
    folder = f"{tmp_path.as_posix()}/map/pairs-300-style-1"
    assert printed[0].startswith(f"python -m semalign_pl.toy write {folder}/world --pairs 300 --style 1")
    encoder = f"--config {folder}/configs/encoder.yaml --seed_everything 0 --trainer.default_root_dir {folder}/encoder"
    assert printed[1] == f"semalign fit {encoder}"
    trained = [line for line in printed if line.startswith("semalign fit")]
    assert len(trained) == 2 + 10 and all("--seed_everything 1 " in line for line in trained[2:])
    translated = f"{folder}/back_translation --file {folder}/world/target_only.txt"
    assert printed[3].startswith(f"semalign translate {translated}")
    # Only the system with the style-blind encoder has a reward that knows more than the pairs.
    rewarded = [line for line in trained if f'"encoder": "{folder}/encoder/encoder"' in line]
    assert len(rewarded) == 5 and not any("style_blind" in line for line in rewarded)
    assert not (tmp_path / "map").exists()


def test_a_world_of_other_models_is_refused(miniature: Path, tmp_path: Path) -> None:
    name = "pairs-300-style-1"
    for model in ("base", "encoder"):
        shutil.copytree(miniature / model, tmp_path / "models" / model)
    flags = ["--config", str(CONFIGS), "--out", str(tmp_path / "map"), "--models"]
    options = parser().parse_args([*flags, str(tmp_path / "models")])
    folder, configs = prepare(name, options)  # writes the world
    world = folder / "world"
    written = (world / "world.json").stat().st_mtime_ns
    assert prepare(name, options) == (folder, configs)
    (tmp_path / "models" / "encoder" / "config.json").write_text("{}")
    with pytest.raises(SystemExit, match=rf"{world}: its base and encoder are not those of --models {tmp_path}/models"):
        prepare(name, options)
    with pytest.raises(SystemExit, match="--models missing; "):
        prepare(name, parser().parse_args([*flags, "missing"]))
    assert (world / "world.json").stat().st_mtime_ns == written


def test_the_command_names_the_cells_of_the_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = read_study(CONFIGS)
    assert study.frontier is not None
    names = tuple(dict.fromkeys(name for pair in study.frontier.compare for name in pair))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(harness, "RESULTS", tmp_path)
    Path("docs").mkdir()
    write_seed(tmp_path / "map" / "pairs-300-style-1", cell(1, 70, names))
    monkeypatch.setattr(sys, "argv", ["map.py", "--collect", "--config", str(CONFIGS)])
    map_script.main()
    written = json.loads((tmp_path / "map.json").read_text(encoding="utf-8"))
    assert written["command"] == "python benchmarks/map.py --only pairs-300-style-1:1"


def test_a_whole_grid_has_a_short_command() -> None:
    more = ["pairs-1000-style-0-noise-0.2"]
    assert command_of(cells_of([], 2)) == "python benchmarks/map.py --seeds 2"
    few = cells_of(["pairs-300-style-1", *more], 3)
    assert command_of(few) == f"python benchmarks/map.py --seeds 3 --only pairs-300-style-1 {more[0]}"
    uneven = [*cells_of(more, 1), ("pairs-300-style-1", 0), ("pairs-300-style-1", 1)]
    assert command_of(uneven).endswith(f" --only {more[0]}:0 pairs-300-style-1:0 pairs-300-style-1:1")
