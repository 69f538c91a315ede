"""Sweeps: names and flags of the variants, settings by their short names, and messages about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from semalign_pl.study.protocol import steps
from semalign_pl.study.sweep import expand, list_keys, read_variants
from semalign_pl.study.systems import System, group, read_study

RECIPE = Path(__file__).parents[2] / "configs" / "quickstart" / "semantic_grpo.yaml"
LR = "--model.init_args.optimizer.init_args.lr"


@pytest.fixture(scope="module")
def keys() -> list[str]:
    """Keys of the recipe's settings."""
    return list_keys(RECIPE, (), "over")


def test_each_combination_is_a_variant_that_a_flag_sets(keys: list[str]) -> None:
    variants = expand({"optimizer.lr": ["1e-4", 0.003], "beta": [0, 0.04]}, keys, "over")
    assert [variant.suffix for variant in variants] == [
        "lr-0.0001.beta-0",
        "lr-0.0001.beta-0.04",
        "lr-0.003.beta-0",
        "lr-0.003.beta-0.04",
    ]
    assert variants[1].flags == (LR, "0.0001", "--model.init_args.beta", "0.04")
    (variant,) = expand({"trainer.max_steps": [5]}, keys, "over")
    assert variant == ("max_steps-5", ("--trainer.max_steps", "5"))


@pytest.mark.parametrize(
    ("over", "said"),
    [
        (None, "over: None lists no setting; write `over: {optimizer.lr: [1e-4, 1e-3]}`"),
        ({"learning_rate": [1]}, "over.learning_rate: the recipe has no such setting"),
        ({"lr": [1]}, "over.lr: the recipe has no such setting; did you mean optimizer.lr?"),
        ({"bta": [1]}, "over.bta: the recipe has no such setting; did you mean beta?"),
        ({"seed": [1]}, "over.seed: is the name of several settings; write one of model.init_args.seed, data"),
        ({"adapter": ["a"]}, "over.adapter: model.init_args.adapter is set by the study itself; leave it out"),
        ({"default_root_dir": ["a"]}, "trainer.default_root_dir is set by the study itself"),
        ({"beta": 0.1}, "over.beta: 0.1 is no list of values"),
        ({"beta": []}, "over.beta: [] is no list of values"),
        ({"beta": [0.001, "1e-3"]}, "over.beta: 0.001 is listed twice"),
        ({"beta": [float("nan")]}, "over.beta: nan cannot name a folder"),
        ({"base": ["../models/a"]}, "over.base: '../models/a' cannot name a folder; sweep over numbers"),
        ({"base": [None]}, "over.base: None cannot name a folder"),
    ],
)
def test_a_mistake_names_the_key_and_the_remedy(over: object, said: str, keys: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        expand(over, keys, "over")
    assert said in str(error.value) and "\n" not in str(error.value)


def test_a_value_of_a_wrong_type_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"^over: beta-high: model.init_args.beta: needs a number, not 'high'$"):
        read_variants({"beta": ["high"]}, RECIPE, "over")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Configs of a swept system, and of one that starts from it."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.yaml").write_bytes(RECIPE.read_bytes())
    return tmp_path


def test_a_system_starts_from_a_variant_by_its_name(folder: Path) -> None:
    content = "frontier: {scale_from: start}\na: {from: base, over: {beta: [0.1, 0.2]}}\nb: {from: %s}\n"
    (folder / "study.yaml").write_text(content % "a")
    with pytest.raises(ValueError, match=r"b.from: 'a' is swept; name one of its variants a.beta-0.1, a.beta-0.2"):
        read_study(folder)
    (folder / "study.yaml").write_text(content % "a.beta-0.2")
    study = read_study(folder)
    assert study.systems[0] == System(
        "a.beta-0.1", folder / "a.yaml", "base", None, "a", ("--model.init_args.beta", "0.1")
    )
    assert {key: [one.name for one in variants] for key, variants in group(study.systems).items()} == {
        "a": ["a.beta-0.1", "a.beta-0.2"],
        "b": ["b"],
    }
    assert study.frontier is not None and study.frontier.compare == (("a", "b"),)
    plan = list(steps(study.systems, folder / "out", 1, study.frontier))
    assert [step.name for step in plan] == [
        "test base",
        *("fit a.beta-0.1", "frontier a.beta-0.1", "fit a.beta-0.2", "frontier a.beta-0.2"),
        *("fit b", "frontier b"),
    ]
    run = folder / "out" / "seed-0"
    recipe = ("--config", str(folder / "a.yaml"), "--seed_everything", "0", "--model.init_args.beta", "0.1")
    assert plan[1].args[:7] == ("fit", *recipe) and plan[1].args[-2:] == ("--model.init_args.adapter", "null")
    assert plan[2].args == (
        *("frontier", str(run / "a.beta-0.1" / "adapter"), *recipe, "--scales", "0.25,0.5,0.75"),
        *("--scale_from", "base", "--out", str(run / "a.beta-0.1")),
    )
    assert plan[5].args[-1] == str(run / "a.beta-0.2" / "adapter")
    assert plan[6].args[plan[6].args.index("--scale_from") + 1] == "start", "of the adapter that it started from"
