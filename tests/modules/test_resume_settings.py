"""A resumed run has its original settings, or names the one that differs; only its end may change."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
import torch
import yaml
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.cli import main
from semalign_pl.messages.errors import one_line
from semalign_pl.modules.settings import Settings, compare_settings, run_settings

SERVER = {
    "class_path": "semalign_pl.rollouts.ServerRollouts",
    "init_args": {"url": "http://localhost:1", "patience": 1},
}


def resume(
    runs: Runs, stage: str, name: str, step: int, *flags: str, callbacks: list[dict[str, Any]] | None = None
) -> Any:
    saved = runs.folder / name / f"step={step}.ckpt"
    shutil.rmtree(runs.folder / "resumed", ignore_errors=True)  # a folder holds one run
    return runs("fit", stage, "resumed", f"ckpt_path={saved}", *flags, callbacks=callbacks)


@pytest.fixture(scope="module")
def begun(base: str, encoder: str, corpus, tmp_path_factory) -> Runs:
    """Runs of two steps per stage, with their checkpoints."""
    runs = Runs(tmp_path_factory.mktemp("begun"), base, encoder, corpus)
    for stage in ("sft", "grpo"):
        runs("fit", stage, stage, "trainer.max_steps=2", callbacks=[runs.checkpoints(stage, 1)])
    return runs


@pytest.mark.parametrize(
    ("stage", "flag", "answer"),
    [
        ("sft", "model.init_args.optimizer.init_args.lr=0.02", "optimizer.init_args.lr was 0.01 and is 0.02"),
        ("sft", "model.init_args.optimizer=torch.optim.SGD", "optimizer.class_path was torch.optim.AdamW"),
        ("sft", "model.init_args.lr_scheduler=Constant", "lr_scheduler.class_path was semalign_pl"),
        ("sft", "model.init_args.max_grad_norm=2", "model.init_args.max_grad_norm was 1.0 and is 2.0"),
        ("sft", "model.init_args.lora.dropout=0.1", "model.init_args.lora.dropout was 0.2 and is 0.1"),
        ("sft", "model.init_args.lora=null", "model.init_args.lora was {alpha: 8, dropout: 0.2, r: 4, "),
        ("sft", "seed_everything=4", "seed_everything was 3 and is 4"),
        ("sft", "data.init_args.batch_size=4", "data.init_args.batch_size was 6 and is 4"),
        ("sft", "data.init_args.limit=30", "data.init_args.limit was null and is 30"),
        ("sft", "trainer.limit_train_batches=3", "trainer.limit_train_batches was null and is 3"),
        ("grpo", "model.init_args.num_generations=4", "model.init_args.num_generations was 2 and is 4"),
        ("grpo", "model.init_args.num_iterations=2", "model.init_args.num_iterations was 1 and is 2"),
        ("grpo", "model.init_args.beta=0.1", "model.init_args.beta was 0.04 and is 0.1"),
        ("grpo", f"model.init_args.rollouts={SERVER}", "rollouts was null and is {class_path: semalign_pl"),
    ],
)  # fmt: skip
def test_a_changed_setting_is_refused_by_name(begun: Runs, capsys, stage: str, flag: str, answer: str) -> None:
    saved = begun.folder / stage / "step=1.ckpt"
    args = begun.args("fit", stage, "resumed", "trainer.max_steps=2", f"ckpt_path={saved}", flag)
    with one_line(args) as status:
        main(args)
    message = capsys.readouterr().err.splitlines()[-1]
    assert status.code == 2 and answer in message and "adapter folder" in message, message


@pytest.mark.parametrize(
    ("place", "options", "answer"),
    [
        (1, {"weight": 2.0}, r"LanguageReward.weight was 1.0 and is 2.0"),
        (0, {"tau": {"quantile": 0.05}}, r"SemanticReward.tau was -0.5 and is \{quantile: 0.05, samples: 256\}"),
        (0, {"tau": -0.5, "anchor": {"zh": 1.0}}, r"SemanticReward.anchor was reference and is \['zh'\]"),
    ],
)
def test_a_changed_reward_is_refused_by_name(begun: Runs, place: int, options: dict[str, Any], answer: str) -> None:
    recipe = begun.recipe("grpo")
    given = recipe["trainer"]["callbacks"][place].setdefault("init_args", {})
    given |= options
    path, folder = begun.write(recipe, "other"), begun.folder / "other"
    args = ["fit", "--config", str(path), f"--trainer.default_root_dir={folder}"]
    with pytest.raises(ValueError, match=f"with, but trainer.callbacks.{answer}; set it back"):
        main([*args, f"--ckpt_path={begun.folder / 'grpo' / 'step=1.ckpt'}"])


def test_another_reward_is_refused_by_name(begun: Runs) -> None:
    with pytest.raises(ValueError, match=r"callbacks.listed was .* and is \['LanguageReward', .*LengthReward"):
        resume(begun, "grpo", "grpo", 1, callbacks=[{"class_path": "LengthReward"}])


def settings(callback: str, options: dict[str, Any]) -> Settings:
    """Settings of a run with one callback."""
    listed = {"class_path": f"semalign_pl.{callback}", "init_args": options}
    return run_settings({"trainer": {"callbacks": [listed], "max_steps": 3}})


SEMANTIC, BUDGET = "rewards.SemanticReward", "callbacks.TaxBudget"


@pytest.mark.parametrize(
    ("callback", "one", "other", "answer"),
    [
        (SEMANTIC, {"anchor": "reference"}, {"anchor": {"zh": 1.0}}, "anchor was reference and is ['zh']"),
        (SEMANTIC, {"anchor": {"bo": 1, "zh": 1}}, {"anchor": {"bo": 1}}, "anchor was ['bo', 'zh'] and is ['bo']"),
        (SEMANTIC, {"anchor": {"bo": 1}}, {"anchor": {"zh": 1}}, "anchor was ['bo'] and is ['zh']"),
        (SEMANTIC, {"tau": 0.3}, {"tau": {"quantile": 0.1}}, "tau was 0.3 and is {quantile: 0.1}"),
        (BUDGET, {"budget": {"f1": -1}}, {"budget": {"em": 1, "f1": -1}}, "budget was ['f1'] and is ['em', 'f1']"),
        (BUDGET, {"budget": {"f1": -1}}, {"budget": {"f1": -2}}, "budget.f1 was -1 and is -2"),
    ],
)
def test_a_change_of_an_options_form_or_keys_is_refused(
    callback: str, one: dict[str, Any], other: dict[str, Any], answer: str
) -> None:
    before, after = answer.split(" was ")[1].split(" and is ")
    assert not compare_settings(settings(callback, one), settings(callback, one), "")
    for first, second in (one, other), (other, one):
        with pytest.raises(ValueError) as caught:
            compare_settings(settings(callback, first), settings(callback, second), "")
        expected = answer if first is one else f"{answer.split(' was ')[0]} was {after} and is {before}"
        assert f"{callback.split('.')[1]}.{expected}" in str(caught.value)


def test_settings_of_an_earlier_version_are_compared_as_far_as_it_saved_them() -> None:
    """It did not save the keys of an option, and lacks options of a later version."""
    now = settings(SEMANTIC, {"anchor": {"zh": 1.0}, "tau": {"quantile": 0.1, "samples": 9}})
    saved = {key: value for key, value in now.items() if not key.endswith((".anchor", ".samples"))}
    assert len(saved) == len(now) - 2
    assert not compare_settings(saved, now, "") and not compare_settings(now, saved, "")
    saved["trainer.callbacks.SemanticReward"] = "{}"  # a class without options
    assert not compare_settings(saved, now, "")
    with pytest.raises(ValueError, match=r"anchor was \{zh: 1.0\} and is reference"):
        compare_settings(saved, settings(SEMANTIC, {"anchor": "reference"}), "")


def test_another_corpus_of_as_many_rows_is_refused(begun: Runs, tmp_path) -> None:
    """A moved file is the same; its content counts."""
    moved = tmp_path / "moved.jsonl"
    shutil.copy(begun.corpus / "train.jsonl", moved)
    resume(begun, "sft", "sft", 1, "trainer.max_steps=2", f"data.init_args.train={moved}")
    text = moved.read_text(encoding="utf-8")
    moved.write_text(text.replace("。", "！", 1), encoding="utf-8")
    assert moved.read_text(encoding="utf-8") != text
    with pytest.raises(ValueError, match=r"data.init_args.train: the content of .*moved.jsonl is not what the"):
        resume(begun, "sft", "sft", 1, "trainer.max_steps=2", f"data.init_args.train={moved}")


@pytest.mark.parametrize(
    "flag", ["model.init_args.micro_batch_tokens=64", "trainer.log_every_n_steps=2", "data.init_args.eval_batch_size=2"]
)
def test_what_does_not_change_the_training_may_differ(begun: Runs, flag: str) -> None:
    assert resume(begun, "sft", "sft", 1, "trainer.max_steps=2", flag).trainer.global_step == 2


def test_a_longer_run_has_the_longer_schedule_and_says_so(begun: Runs, caplog) -> None:
    """Half a cosine over four steps: at step 3 it is 1/2 (1 + cos(3/4 pi))."""
    kept = begun.checkpoints("longer", 1)
    resume(begun, "sft", "sft", 2, "trainer.max_steps=4", callbacks=[kept])
    assert "trainer.max_steps was 2 and is 4; the learning-rate schedule is that of the new length" in caplog.text
    saved = torch.load(begun.folder / "longer" / "step=3.ckpt", weights_only=True)
    assert saved["lr_schedulers"][0]["_last_lr"] == [pytest.approx(0.01 * 0.1464466)]


def test_a_schedule_that_keeps_its_length_is_not_made_longer(runs: Runs) -> None:
    """The length of CosineAnnealingLR is in its state, which loading the checkpoint would replace."""
    schedule = "model.init_args.lr_scheduler=torch.optim.lr_scheduler.CosineAnnealingLR"
    runs("fit", "sft", "run", "trainer.max_steps=2", schedule, callbacks=[runs.checkpoints("run", 1)])
    with pytest.raises(ValueError, match="lr_scheduler.T_max was 2 and is 4"):
        resume(runs, "sft", "run", 1, "trainer.max_steps=4", schedule)


@pytest.mark.parametrize("length", ["trainer.max_steps=2", "trainer.max_epochs=1"])
def test_a_run_killed_before_the_export_gets_its_adapter(runs: Runs, length: str) -> None:
    """Nothing is left to train, so Lightning calls neither the start nor the end hook of training."""
    flags = [length, "data.init_args.limit=12"] + (["trainer.max_steps=-1"] if "epochs" in length else [])
    # A second checkpoint is written at the end of the epoch, after which no epochs are left either.
    ends = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(runs.folder / "run"), "filename": "end"}}
    straight = runs("fit", "sft", "run", *flags, callbacks=[runs.checkpoints("run", 1), ends])
    for name in ("step=2", "end"):
        shutil.rmtree(runs.folder / "resumed", ignore_errors=True)
        resumed = runs("fit", "sft", "resumed", *flags, f"ckpt_path={runs.folder / 'run' / name}.ckpt")
        assert resumed.trainer.global_step == straight.trainer.global_step == 2
        assert_same(weights(runs.folder / "resumed"), weights(runs.folder / "run"))
        training = json.loads((runs.folder / "resumed" / "adapter" / "training.json").read_text(encoding="utf-8"))
        assert training["steps"] == 2


def test_grpo_stops_at_max_steps_within_a_batch_and_goes_on(runs: Runs) -> None:
    """Four updates per batch and ten steps: the third batch makes two. The schedule ends at its last step."""
    flags = ["model.init_args.num_iterations=4", "trainer.max_steps=10"]
    ends = {"class_path": "ModelCheckpoint", "init_args": {"dirpath": str(runs.folder / "run"), "filename": "end"}}
    ends["init_args"]["save_last"] = True
    cli = runs("fit", "grpo", "run", *flags, callbacks=[runs.checkpoints("run", 4), ends])
    assert cli.trainer.global_step == 10
    last = torch.load(runs.folder / "run" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 10 and last["lr_schedulers"][0]["_last_lr"] == [pytest.approx(0, abs=1e-9)]
    resumed = resume(runs, "grpo", "run", 8, *flags)
    assert resumed.trainer.global_step == 10
    assert_same(dict(resumed.model.state_dict()), dict(cli.model.state_dict()))
    longer = runs("fit", "grpo", "longer", *flags, "trainer.max_steps=14", f"ckpt_path={runs.folder / 'run'}/last.ckpt")
    assert longer.trainer.global_step == 14


@pytest.mark.parametrize("seed", ["true", "false", "-1", "4294967296"])
def test_a_seed_that_is_no_number_is_refused(runs: Runs, capsys, seed: str) -> None:
    args = runs.args("fit", "sft", "run", f"seed_everything={seed}")
    with one_line(args) as status:
        main(args)
    assert status.code == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith(f"semalign: error: seed_everything: {seed} is no seed")
    assert not (runs.folder / "run").exists()


def test_the_settings_in_a_checkpoint_are_plain(begun: Runs) -> None:
    saved = torch.load(begun.folder / "grpo" / "step=1.ckpt", weights_only=True)["semalign"]["settings"]
    assert saved["seed_everything"] == 3 and saved["trainer.callbacks.SemanticReward.tau"] == -0.5
    assert yaml.safe_load(yaml.safe_dump(saved)) == saved
