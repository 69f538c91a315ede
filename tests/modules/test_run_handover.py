"""``--ckpt_path`` continues the same run; the next stage gets the adapter folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.__main__ import main
from semalign_pl.policy.adapter import fingerprint


def one_line(capfd: pytest.CaptureFixture[str], args: list[str]) -> str:
    """Run a mistaken command; return its stderr after exit status 2."""
    capfd.readouterr()
    assert main(args) == 2
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("semalign: error: ")]
    assert len(lines) == 1
    return lines[0]


def checkpoint(runs: Runs, stage: str, name: str, *flags: str) -> Path:
    """Train two steps; return the checkpoint of the second."""
    runs("fit", stage, name, "trainer.max_steps=2", *flags, callbacks=[runs.checkpoints(name, 2)])
    return runs.folder / name / "step=2.ckpt"


def test_between_stages(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    saved = checkpoint(runs, "sft", "cold")
    said = one_line(capfd, runs.args("fit", "grpo", "rl", f"ckpt_path={saved}"))
    assert "--ckpt_path: this is a checkpoint of stage 'sft', and the run is stage 'grpo'" in said
    assert "--model.init_args.adapter RUN/adapter" in said and not (runs.folder / "rl" / "adapter").exists()

    adapter = runs.folder / "cold" / "adapter"
    cold = weights(runs.folder / "cold")
    onwards = ["model.init_args.lora=null", f"model.init_args.adapter={adapter}"]
    cli = runs("fit", "grpo", "rl", "trainer.max_steps=1", *onwards)
    assert cli.model.stage == "grpo" and cli.model._reference == fingerprint(cold)
    moved = weights(runs.folder / "rl")
    assert moved.keys() == cold.keys() and any(not moved[key].equal(cold[key]) for key in cold)
    assert_same(weights(runs.folder / "cold"), cold)


def test_resume_from_another_start_is_refused(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    checkpoint(runs, "sft", "a")
    checkpoint(runs, "sft", "b", "seed_everything=9")
    onwards = ["model.init_args.lora=null"]
    from_a, from_b = (f"model.init_args.adapter={runs.folder / name / 'adapter'}" for name in "ab")
    saved = checkpoint(runs, "grpo", "rl", *onwards, from_a)

    said = one_line(capfd, runs.args("fit", "grpo", "rl", *onwards, from_b, f"ckpt_path={saved}"))
    assert "began from another policy than model.init_args.adapter" in said
    said = one_line(capfd, runs.args("fit", "grpo", "rl", f"ckpt_path={saved}"))
    assert "but model.init_args.lora was null and is {" in said and "--model.init_args.adapter RUN/adapter" in said
    assert runs("fit", "grpo", "rl", *onwards, from_a, f"ckpt_path={saved}").trainer.global_step == 3


def test_test_takes_a_checkpoint_of_the_same_stage(runs: Runs, capfd: pytest.CaptureFixture[str]) -> None:
    saved = checkpoint(runs, "sft", "cold")
    evaluation = [{"class_path": "Evaluation"}]
    tested = runs("test", "sft", "tested", f"ckpt_path={saved}", callbacks=evaluation)
    trained = weights(runs.folder / "cold")
    now = tested.model.state_dict()
    assert now.keys() == trained.keys() and all(now[key].equal(trained[key]) for key in now)

    said = one_line(capfd, runs.args("fit", "sft", "more", "model.init_args.lora.r=8", f"ckpt_path={saved}"))
    assert "model.init_args.lora.r was 4 and is 8" in said
    given = ["model.init_args.lora.r=8", f"ckpt_path={saved}"]
    said = one_line(capfd, runs.args("test", "sft", "more", *given, callbacks=evaluation))
    assert "do not fit this model" in said and "lora" in said


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_checkpoint_that_is_none(runs: Runs, capfd: pytest.CaptureFixture[str], command: str) -> None:
    said = one_line(capfd, runs.args(command, "sft", "x", "ckpt_path=checkpoints/none.ckpt"))
    assert "--ckpt_path: there is no file checkpoints/none.ckpt; give" in said
    broken = runs.folder / "broken.ckpt"
    broken.write_bytes(b"PK\x03\x04 half")
    said = one_line(capfd, runs.args(command, "sft", "x", f"ckpt_path={broken}"))
    assert f"--ckpt_path: {broken} is not a checkpoint" in said
