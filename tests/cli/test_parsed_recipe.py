"""A recipe is read as a command would read it, and nothing else happens."""

import logging
import random

import pytest
import torch

from semalign_pl.cli import Parser
from semalign_pl.cli.parsed_recipe import parse_recipe
from semalign_pl.data import CorpusDataModule

RECIPE = "configs/quickstart/cold_start.yaml"


@pytest.mark.parametrize("command", ["fit", "test"])
def test_reading_sets_no_seed_and_prints_nothing(command, caplog, capfd) -> None:
    states = random.getstate(), torch.get_rng_state()
    with caplog.at_level(logging.INFO):
        recipe = parse_recipe(["--config", RECIPE, "--seed_everything", "3"], command)
    assert recipe.settings.seed_everything == 3 and recipe.settings.model.init_args.seed == 3
    assert random.getstate() == states[0] and torch.equal(torch.get_rng_state(), states[1])
    assert not caplog.records and capfd.readouterr() == ("", "")


def test_only_the_data_module_is_made() -> None:
    recipe = parse_recipe(["--config", RECIPE, "--model.init_args.base", "no/such/folder"])
    assert isinstance(recipe.make_data(), CorpusDataModule)


def test_the_recipe_that_a_run_saved_is_read(tmp_path) -> None:
    """``fit.yaml`` has keys of the command, which plan and corpus read without using them."""
    saved = tmp_path / "fit.yaml"
    saved.write_text("ckpt_path: null\nweights_only: true\n", encoding="utf-8")
    recipe = parse_recipe(["--config", RECIPE, "--config", str(saved)])
    assert recipe.settings.model.class_path.endswith("SFTModule")


def test_a_wrong_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed_everything: true is no seed"):
        parse_recipe(["--config", RECIPE, "--seed_everything", "true"])


@pytest.mark.parametrize(
    "flags",
    [
        ["--config", "configs/quickstart/semantic_grpo.yaml", "--trainer.callbacks+=LengthReward"],
        ["--config", RECIPE, "--model.init_args.optimizer=torch.optim.SGD", "--model.init_args.lr_scheduler=Constant"],
        ["--config", "configs/quickstart/semantic_grpo.yaml", "--config", "configs/methods/ebft.yaml"],
    ],
    ids=["appended", "other classes", "overlay"],
)
def test_defaults_that_are_filled_in_once_are_those_of_a_second_time(flags, monkeypatch) -> None:
    once = parse_recipe(flags).config
    monkeypatch.delattr(Parser, "_parse_common")
    assert once == parse_recipe(flags).config
