"""Sweeps: names and flags of the variants, settings by their short names, and messages about mistakes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from semalign_pl.cli.parsed_recipe import ParsedRecipe, parse_recipe
from semalign_pl.study import sweep
from semalign_pl.study.frontier import check_other_data, keep_chosen
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.protocol import choosing_steps, steps
from semalign_pl.study.study_file import read_study
from semalign_pl.study.sweep import expand, list_keys, read_variants
from semalign_pl.study.systems import Study, System, group

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


@pytest.mark.parametrize(
    ("over", "said"),
    [
        ({"beta": ["high"]}, "over: beta-high: model.init_args.beta: needs a number, not 'high'"),
        (
            {"beta": [0.1], "num_generations": [4, 0.5, 8]},
            "over: beta-0.1.num_generations-0.5: model.init_args.num_generations: needs a whole number, not '0.5'",
        ),
    ],
)
def test_a_value_of_a_wrong_type_is_refused_before_training(over: dict[str, list[object]], said: str) -> None:
    with pytest.raises(ValueError) as error:
        read_variants(over, RECIPE, "over")
    assert str(error.value) == said


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
    plan = list(steps(study, folder / "out", 1))
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


def test_a_systems_own_settings_are_flags_of_all_its_variants(tmp_path: Path) -> None:
    text = RECIPE.read_text(encoding="utf-8")
    (tmp_path / "a.yaml").write_text(text, encoding="utf-8")
    (tmp_path / "study.yaml").write_text(
        "frontier: {}\n"
        "a: {from: base, set: {trainer.max_steps: 3, data.init_args.train: [x.jsonl, {path: y.jsonl}]}}\n"
        "b: {from: a, config: a.yaml, set: {num_generations: 4}, over: {beta: [0.1]}}\n"
    )
    a, b = read_study(tmp_path).systems
    given = ("--trainer.max_steps", "3", "--data.init_args.train", '["x.jsonl", {"path": "y.jsonl"}]')
    assert (a.name, a.sweep, a.flags) == ("a", None, given)
    assert (b.name, b.start) == ("b.beta-0.1", "a")
    assert b.flags == ("--model.init_args.num_generations", "4", "--model.init_args.beta", "0.1")
    for settings, said in (
        ("{}", "a.set: {} has no setting; write `set: {trainer.max_epochs: 4}`"),
        ("[1]", r"a.set: \[1\] has no setting"),
        ("{betta: 0}", "a.set.betta: the recipe has no such setting; did you mean beta"),
        ("{beta: big}", "a.set: .*beta"),
        ("{adapter: x}", "a.set.adapter: model.init_args.adapter is set by the study itself; leave it out"),
    ):
        (tmp_path / "study.yaml").write_text(f"a: {{from: base, set: {settings}}}\n")
        with pytest.raises(ValueError, match=said):
            read_study(tmp_path)


def test_a_choice_on_other_data_needs_every_training_and_points_of_variants(tmp_path: Path) -> None:
    (tmp_path / "validation.yaml").touch()
    variants = [System(f"a.lr-{rate}", RECIPE, "cold", sweep="a", flags=(LR, rate)) for rate in ("1", "2")]
    systems = [System("cold", RECIPE, "base"), *variants, System("end", RECIPE, "a.lr-2")]
    settings = FrontierSettings(scales=(0.5,), choose_on=tmp_path / "validation.yaml")
    plan = list(choosing_steps(Study(systems, settings), tmp_path, 1))
    assert [step.name for step in plan] == [
        "test base on validation",
        "fit cold",
        *("fit a.lr-1", "frontier a.lr-1 on validation", "fit a.lr-2", "frontier a.lr-2 on validation"),
        "fit end",
    ]
    overlay = ("--config", str(RECIPE), "--config", str(tmp_path / "validation.yaml"), "--seed_everything", "0")
    assert plan[3].args == (
        *("frontier", str(tmp_path / "seed-0" / "a.lr-1" / "adapter"), *overlay, LR, "1", "--scales", "0.5"),
        *("--scale_from", "base", "--out", str(tmp_path / "validation" / "seed-0" / "a.lr-1")),
    )
    # The curves of the variants end in the system that they start from, if it is scale 0.
    from_start = replace(settings, scale_from="start")
    tested = [
        step.name for step in choosing_steps(Study(systems, from_start), tmp_path, 1) if step.command == "frontier"
    ]
    assert tested == [f"frontier {name} on validation" for name in ("cold", "a.lr-1", "a.lr-2")]
    # A variant that another system starts from is trained even if it was not chosen.
    assert [one.name for one in keep_chosen(systems, {"a": "a.lr-1"})] == ["cold", "a.lr-1", "a.lr-2", "end"]
    assert [one.name for one in keep_chosen(systems[:3], {"a": "a.lr-2"})] == ["cold", "a.lr-2"]


def test_a_choice_on_data_of_the_test_is_refused(tmp_path: Path) -> None:
    """A config that leaves the test corpus or a probe of the recipe would choose on the test set itself."""
    systems = [System("a.lr-1", RECIPE, "base", sweep="a", flags=(LR, "1"))]
    world = "runs/quickstart/world"
    probe = "{class_path: ReadingComprehensionProbe, init_args: {file: %s}}"
    other = f"data: {{init_args: {{test: {world}/pairs/dev.jsonl}}}}\n"
    overlay = tmp_path / "validation.yaml"
    for text, said in (
        ("seed_everything: 0\n", f'has the same data.init_args.test as {RECIPE}, "{world}/pairs/test.jsonl"'),
        (other, f"has the same file of a probe as {RECIPE}, {world}/reading_comprehension.json; give other rows"),
        (f"{other}trainer: {{callbacks: [{probe % 'dev.json'}]}}\n", None),
    ):
        overlay.write_text(text, encoding="utf-8")
        if said is None:
            check_other_data(systems, overlay, "study.yaml: frontier.choose_on")
            continue
        with pytest.raises(ValueError) as error:
            check_other_data(systems, overlay, "study.yaml: frontier.choose_on")
        assert str(error.value).startswith(f"study.yaml: frontier.choose_on: {overlay} {said}")


def test_a_choice_on_the_harness_task_of_the_test_is_refused(tmp_path: Path) -> None:
    """An LMEvalProbe names its questions by a task; the task of a TranslationProbe says how rows are read."""
    recipe, overlay = tmp_path / "a.yaml", tmp_path / "validation.yaml"
    translation = "{class_path: TranslationProbe, init_args: {file: %s, task: {class_path: Translation}}}"
    harness = "{class_path: LMEvalProbe, init_args: {task: %s}}"
    probes = f"    - {harness % 'piqa'}\n    - {translation % 'a.jsonl'}\n"
    text = RECIPE.read_text(encoding="utf-8").replace("    - class_path: SampleTable\n", probes)
    recipe.write_text(text, encoding="utf-8")

    def check(task: str) -> None:
        callbacks = f"[{harness % task}, {translation % 'b.jsonl'}]"
        settings = f"data: {{init_args: {{test: dev.jsonl}}}}\ntrainer: {{callbacks: {callbacks}}}\n"
        overlay.write_text(settings, encoding="utf-8")
        check_other_data([System("a.lr-1", recipe, "base", sweep="a", flags=(LR, "1"))], overlay, "choose_on")

    check("arc_easy")
    with pytest.raises(ValueError, match=f"has the same task of a probe as {recipe}, piqa; give other rows"):
        check("piqa")


@pytest.mark.parametrize("sweep", ["a", None])
def test_a_system_that_undoes_the_config_of_the_choice_is_refused(tmp_path: Path, sweep: str | None) -> None:
    """Settings of a system are flags, which win over a config; the base model is tested with the first system's."""
    test = "runs/quickstart/world/pairs/test.jsonl"
    own = System("a.lr-1", RECIPE, "base", sweep=sweep, flags=(LR, "1", "--data.init_args.test", test))
    overlay = tmp_path / "validation.yaml"
    overlay.write_text("data: {init_args: {test: dev.jsonl}}\ntrainer: {callbacks: []}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"validation\.yaml has the same data\.init_args\.test as .*, \"" + test):
        check_other_data([own, System("b.lr-1", RECIPE, "base", sweep="b", flags=(LR, "1"))], overlay, "choose_on")


def test_the_base_model_is_tested_with_what_the_first_system_changes_for_a_test(tmp_path: Path) -> None:
    given = ("--model.init_args.base", "other", "--model.init_args.max_new_tokens", "9", "--data.init_args.test", "x")
    system = System("a", RECIPE, "base", flags=(LR, "1", *given, "--trainer.max_epochs", "2"))
    recipe = ("--config", str(RECIPE), "--seed_everything", "0")
    assert next(steps(Study([system]), tmp_path, 1)).args[: 5 + len(given)] == ("test", *recipe, *given)


def test_each_recipe_is_parsed_once_per_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parsing a recipe takes a second, and most systems of a study share one."""
    parsed: list[tuple[str, ...]] = []

    def record(args: tuple[str, ...]) -> ParsedRecipe:
        parsed.append(args)
        return parse_recipe(args)

    monkeypatch.setattr(sweep, "parse_recipe", record)
    recipe = tmp_path / "a.yaml"
    recipe.write_text(RECIPE.read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "study.yaml").write_text(
        "frontier: {}\n"
        "a: {from: base, set: {num_generations: 4}, over: {beta: [0.1, 0.2]}}\n"
        "b: {from: base, config: a.yaml, set: {num_generations: 4}}\n"
        "c: {from: base, config: a.yaml, over: {beta: [0.1]}}\n"
    )
    assert len(read_study(tmp_path).systems) == 4
    # The recipe, with `set`, with `set` and both betas, with one beta alone.
    assert len(parsed) == len(set(parsed)) == 4
    recipe.write_text(recipe.read_text(encoding="utf-8").replace("num_generations", "num_generation"), encoding="utf-8")
    with pytest.raises(ValueError, match=r"a\.set: .*num_generation"):
        read_study(tmp_path)
