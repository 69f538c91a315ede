"""The user's own reward of the README, copied from there, with the installed command."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

README = Path(__file__).parents[2] / "README.md"


@pytest.mark.slow
def test_the_readmes_reward_runs_from_the_folder_it_lies_in(runs, tmp_path) -> None:
    section = README.read_text(encoding="utf-8").split("## Your own reward")[1]
    code = re.search(r"```python\n(# my_rewards.py\n.*?)```", section, re.DOTALL)[1]
    callbacks = yaml.safe_load(re.search(r"```yaml\n(.*?)```", section, re.DOTALL)[1])["trainer"]["callbacks"]
    (tmp_path / "my_rewards.py").write_text(code, encoding="utf-8")
    args = runs.args("fit", "grpo", "own", "--trainer.max_steps=1", "trainer.log_every_n_steps=1", callbacks=callbacks)
    environment = {k: v for k, v in runs.environment().items() if k != "PYTHONPATH"}
    command = [str(Path(sys.executable).with_name("semalign")), *args]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert 0 <= float(runs.metrics("own")[0]["train/reward/brevity"]) <= 1
