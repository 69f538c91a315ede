"""Studies measured seed by seed: kept files give the tables of a study's folder, and other recipes are refused."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError
from pathlib import Path

import numpy as np
import pytest
import yaml
from frontier_report import seed_list
from helpers.frontier_study import Planted, write_frontiers, write_json
from keep import opponent_of
from seed_file import digest_of, read_seeds, write_seed
from seed_frontier import compare_seeds
from seed_runs import Plan, choose, pending, results_of, steps_of_choice, steps_of_seed

from semalign_pl.frontier.choice import choose as choose_in_folder
from semalign_pl.frontier.comparison import Settings, compare_study
from semalign_pl.run.digests import Digests
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.protocol import VALIDATION
from semalign_pl.study.systems import BASE, Study, System

SYSTEMS = {
    "cold": {"end": Planted(40, 90, 0.05), "scale-0.5": Planted(20, 93, 0.02)},
    "sft.lr-1": {"end": Planted(70, 50, 0.4), "scale-0.5": Planted(48, 76, 0.1)},
    "sft.lr-2": {"end": Planted(64, 56, 0.4), "scale-0.5": Planted(48, 80, 0.1)},
    "grpo.lr-1": {"end": Planted(64, 72, 0.2), "scale-0.5": Planted(32, 88, 0.1)},
    "grpo.lr-2": {"end": Planted(60, 60, 0.2), "scale-0.5": Planted(30, 80, 0.1)},
}
COSTS = ("cmrc_f1", "nll_change_mean")
SEEDS = 3


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Study of two swept systems, whose folders have real results on both sets of data."""
    configs, out = tmp_path / "configs", tmp_path / "out"
    configs.mkdir()
    for name in ("study", "sft", "overlay"):
        (configs / f"{name}.yaml").write_text(f"name: {name}\n")
    for root, seeds in ((out, SEEDS), (out / VALIDATION, 1)):
        write_frontiers(root, SYSTEMS, seeds, noise=3.0, spread=2.0, rewards={"grpo.lr-1": ["reward:semantic"]})
        for run in (path for path in root.glob("seed-*/*") if path.name != BASE):
            facts = json.loads((run / "adapter" / "training.json").read_text())
            write_json(run / "adapter" / "training.json", {**facts, "steps": 7})
            write_json(run / "fit.done.json", {"seconds": 5.0})
            (run / "metrics.csv").write_text("train/completion_tokens\n8\n")
            (run / "fit.yaml").write_text("{model: {init_args: {}}, data: {init_args: {batch_size: 4}}}")
    sft = configs / "sft.yaml"
    systems = [System("cold", sft, BASE)]
    systems += [System(name, sft, "cold", sweep=name.split(".")[0]) for name in SYSTEMS if "." in name]
    frontier = FrontierSettings("chrf", COSTS, (0.5,), "base", (("sft", "grpo"),), (), configs / "overlay.yaml", 1)
    return Plan(Study(systems, frontier), configs, out, tmp_path / "kept", ("cmrc_em",), opponent_of)


def keep(plan: Plan) -> None:
    """Write the files of all seeds from the folders, with the functions that a run calls after each test."""
    digest, first = digest_of(plan.study, plan.configs, Digests(plan.out / "digests.json")), None
    for seed in range(SEEDS):
        content = {"seed": seed, "digest": digest, "version": "1", "validation": {}, "runs": {}}
        if first is None:
            first = content
            tests = [step for step in steps_of_choice(plan) if step.command != "fit"]
            content["validation"] = {step.system: results_of(plan, content, step, "validation") for step in tests}
            content["choice"] = choose(plan, content["validation"])
        tests = [step for step in steps_of_seed(plan, first, seed) if step.command != "fit"]
        content["runs"] = {step.system: results_of(plan, content, step, "runs") for step in tests}
        write_seed(plan.kept, content)


def test_kept_seeds_give_the_tables_of_the_studys_folder(plan: Plan) -> None:
    keep(plan)
    seeds = read_seeds(plan.kept, digest_of(plan.study, plan.configs, Digests(plan.out / "digests.json")))
    assert list(seeds) == [0, 1, 2]
    swept = {key: [name for name in SYSTEMS if name.startswith(f"{key}.")] for key in ("sft", "grpo")}
    starts = {one.name: one.start for one in plan.study.systems}
    whole = choose_in_folder(plan.out / VALIDATION, swept, starts, "chrf", COSTS, "base", [0], plan.out)
    assert seeds[0]["choice"]["chosen"] == whole["chosen"] == {"sft": "sft.lr-2", "grpo": "grpo.lr-1"}
    for key, name in ((key, name) for key, names in swept.items() for name in names):
        ours, theirs = seeds[0]["choice"]["sweeps"][key][name], whole["sweeps"][key][name]
        assert ours["points"] == theirs["points"] == ["end", "scale-0.5", "base"]
        assert ours["hypervolumes"] == {m: pytest.approx(theirs["hypervolumes"][m]["value"]) for m in COSTS}
    variants = {"cold": ["cold"], **{key: [name] for key, name in whole["chosen"].items()}}
    frontier = compare_study(plan.out, variants, starts, Settings("chrf", COSTS, (), (("sft", "grpo"),)))
    ours, parsed = compare_seeds(plan.study, seeds)
    assert parsed.title_of("grpo") == "grpo" and ours["seen_by_rewards"]["grpo"] == ["reward:semantic"]
    for one, other in zip(ours["verdicts"], frontier["verdicts"], strict=True):
        for key in ("difference", "ci", "p_holm"):
            assert one[key] == pytest.approx(other[key], rel=1e-5), "statistics are kept as float32"
        assert one["outcome"] == other["outcome"] and one["items"] == other["items"] and "grpo" in one["sentence"]
    for key in variants:
        assert np.allclose(ours["curves"][key]["quality"], frontier["curves"][key]["quality"], rtol=1e-6)
    assert opponent_of(seeds[0]) == "sft.lr-1", "of the largest quality, which the study did not choose"
    assert {name for name in seeds[1]["runs"]} == {BASE, "cold", "sft.lr-1", "sft.lr-2", "grpo.lr-1"}
    assert seeds[1]["runs"]["sft.lr-2"]["budget"]["examples"] == 28


def test_other_recipes_are_refused_with_both_digests(plan: Plan) -> None:
    keep(plan)
    digests = Digests(plan.out / "digests.json")
    before = digest_of(plan.study, plan.configs, digests)
    (plan.configs / "sft.yaml").write_text("# a comment\nname: sft\n")
    assert digest_of(plan.study, plan.configs, digests) == before
    (plan.configs / "overlay.yaml").write_text("name: other\n")
    after = digest_of(plan.study, plan.configs, digests)
    with pytest.raises(ValueError, match=f"seed_0.json: was measured with digest {before} .* now {after}"):
        read_seeds(plan.kept, after)


def test_what_is_compared_is_not_in_the_digest(plan: Plan) -> None:
    file = plan.configs / "study.yaml"
    content = yaml.safe_load(file.read_text(encoding="utf-8"))
    digests = []
    for changed in ({}, {"compare": [["grpo", "sft"]]}, {"scales": [0.5]}):
        frontier = {**content.get("frontier", {}), **changed}
        file.write_text(yaml.safe_dump({**content, "frontier": frontier}), encoding="utf-8")
        digests.append(digest_of(plan.study, plan.configs, Digests(plan.out / "digests.json")))
    assert digests[0] == digests[1] != digests[2]


def test_data_that_recipes_name_are_in_the_digest(plan: Plan, tmp_path: Path) -> None:
    data = tmp_path / "train.jsonl"
    data.write_text("{}\n")
    (plan.configs / "sft.yaml").write_text(f"data: {{train: [{{path: {data}}}]}}\nadapter: {tmp_path}/none\n")
    before = digest_of(plan.study, plan.configs, Digests(plan.out / "digests.json"))
    data.write_text('{"a": 1}\n')
    assert digest_of(plan.study, plan.configs, Digests(plan.out / "digests.json")) != before
    (plan.configs / "sft.yaml").write_text("data: {train: runs/nowhere/train.jsonl}\n")
    with pytest.raises(ValueError, match="runs/nowhere/train.jsonl: no such file"):
        digest_of(plan.study, plan.configs, Digests(plan.out / "digests.json"))


def test_an_interrupted_seed_trains_only_what_a_missing_test_needs(plan: Plan) -> None:
    every = steps_of_choice(plan)
    kept = {"sft.lr-1", "sft.lr-2", "grpo.lr-1"}
    left = [step.name for step in pending(every, lambda step: step.system in kept)]
    assert left == ["test base on overlay", "fit cold", "fit grpo.lr-2", "frontier grpo.lr-2 on overlay"]
    assert pending(every, lambda step: False) == every
    assert pending(every, lambda step: True) == []


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-1"])
def test_a_list_of_seeds_is_checked(text: str) -> None:
    assert seed_list("0-2,4,4") == [0, 1, 2, 4]
    with pytest.raises(ArgumentTypeError, match="no seed or range"):
        seed_list(text)
