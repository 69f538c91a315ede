"""The user's own reward of the README, copied from there."""

import re
from pathlib import Path

import pytest
import yaml
from helpers.small_runs import finish, start

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
def test_the_readmes_reward_runs_from_the_folder_it_lies_in(runs, tmp_path) -> None:
    section = README.read_text(encoding="utf-8").split("## Your own reward")[1]
    code = re.search(r"```python\n(# my_rewards.py\n.*?)```", section, re.DOTALL)[1]
    callbacks = yaml.safe_load(re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1])["trainer"]["callbacks"]
    (tmp_path / "my_rewards.py").write_text(code, encoding="utf-8")
    args = runs.args("fit", "grpo", "own", "--trainer.max_steps=1", "trainer.log_every_n_steps=1", callbacks=callbacks)
    status = finish(start(args, tmp_path / "log", tmp_path), 300)
    assert status == 0, (tmp_path / "log").read_text(encoding="utf-8")[-2000:]
    assert 0 <= float(runs.metrics("own")[0]["train/reward/brevity"]) <= 1
