"""Hyperparameters that a user's own module saves are those of the recipe, as Lightning promises."""

from __future__ import annotations

from typing import Any

import yaml
from helpers.small_runs import Runs

from semalign_pl.cli import main
from semalign_pl.modules import SFTModule


class Saving(SFTModule):
    """SFT that saves its hyperparameters, which the modules of this package do not."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.save_hyperparameters()


def test_a_users_own_module_saves_the_settings_of_the_recipe(runs: Runs) -> None:
    recipe = runs.recipe("sft")
    recipe["model"]["class_path"] = f"{__name__}.Saving"
    recipe["trainer"] |= {"max_steps": 1}
    path = runs.folder / "own.yaml"
    path.write_text(yaml.safe_dump(recipe, allow_unicode=True), encoding="utf-8")
    cli = main(["fit", "--config", str(path), f"--trainer.default_root_dir={runs.folder / 'own'}"])
    assert cli.model.hparams["_class_path"].endswith(".Saving") and cli.model.hparams["lora"]["r"] == 4
