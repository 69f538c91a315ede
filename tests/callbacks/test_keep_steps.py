"""Adapters kept every N steps: plain folders of the training's steps, once each, also after a resume."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.small_runs import Runs, assert_same
from safetensors.torch import load_file

from semalign_pl.callbacks import KeepSteps
from semalign_pl.run.kept_steps import list_steps

KEEP = {"class_path": "KeepSteps", "init_args": {"every_n_steps": 2}}


def kept(folder: Path) -> dict[str, dict[str, torch.Tensor]]:
    """Weights of each folder in ``steps``, by its name."""
    return {path.name: load_file(path / "adapter_model.safetensors") for path in sorted((folder / "steps").iterdir())}


def test_the_steps_of_a_training_are_plain_adapters(runs: Runs) -> None:
    """Step 0 is the base, the last one the exported adapter; PEFT alone loads them."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    runs("fit", "sft", "run", "trainer.max_steps=4", callbacks=[KEEP, runs.checkpoints("run/all", 2)])
    folder, ids = runs.folder / "run", torch.tensor([[5, 9, 33, 120]])
    steps = kept(folder)
    assert list(steps) == ["step-000000", "step-000002", "step-000004"]
    assert list(list_steps(folder / "steps")) == [0, 2, 4]
    assert_same(steps["step-000004"], load_file(folder / "adapter" / "adapter_model.safetensors"))
    assert_same(steps["step-000002"], torch.load(folder / "all" / "step=2.ckpt", weights_only=True)["state_dict"])
    facts = json.loads((folder / "steps" / "step-000002" / "training.json").read_text(encoding="utf-8"))
    assert (facts["stage"], facts["steps"], facts["seed"]) == ("sft", 2, 3)
    logits = [
        PeftModel.from_pretrained(
            AutoModelForCausalLM.from_pretrained(runs.base), str(folder / "steps" / name)
        )(ids).logits
        for name in ("step-000000", "step-000004")
    ]  # fmt: skip
    bare = AutoModelForCausalLM.from_pretrained(runs.base)(ids).logits
    assert torch.equal(logits[0], bare) and not torch.allclose(logits[1], bare, atol=1e-3)


def test_a_resumed_run_keeps_each_step_once(runs: Runs) -> None:
    """Steps before the checkpoint are left as they are; later ones of the first attempt are removed and kept anew."""
    callbacks = [KEEP, runs.checkpoints("run/all", 1)]
    runs("fit", "sft", "run", "trainer.max_steps=6", callbacks=callbacks)
    folder = runs.folder / "run"
    straight, times = kept(folder), {path: path.stat().st_mtime_ns for path in (folder / "steps").iterdir()}
    shutil.rmtree(folder / "adapter")
    shutil.copytree(folder / "steps" / "step-000006", folder / "steps" / "step-000008")  # of a longer first attempt
    runs("fit", "sft", "run", "trainer.max_steps=6", f"ckpt_path={folder / 'all' / 'step=3.ckpt'}", callbacks=callbacks)
    assert_same(kept(folder), straight)
    changed = {path.name for path, time in times.items() if path.stat().st_mtime_ns != time}
    assert changed == {"step-000004", "step-000006"}


def test_a_step_that_was_lost_with_the_first_attempt_is_kept_on_resume(runs: Runs) -> None:
    callbacks = [KEEP, runs.checkpoints("run/all", 1)]
    runs("fit", "sft", "run", "trainer.max_steps=2", callbacks=callbacks)
    folder = runs.folder / "run"
    straight = kept(folder)
    shutil.rmtree(folder / "steps" / "step-000002")
    runs("fit", "sft", "run", "trainer.max_steps=3", f"ckpt_path={folder / 'all' / 'step=2.ckpt'}", callbacks=callbacks)
    assert_same(kept(folder), straight)


def test_a_new_training_in_the_folder_sets_the_old_steps_aside(runs: Runs) -> None:
    for _ in range(2):
        runs("fit", "sft", "run", "trainer.max_steps=2", callbacks=[KEEP])
        shutil.rmtree(runs.folder / "run" / "adapter")
        shutil.rmtree(runs.folder / "run" / "checkpoints")
    runs("fit", "sft", "run", "trainer.max_steps=1")
    assert not list((runs.folder / "run").glob("steps*"))
    earlier = sorted(path.name for path in runs.folder.glob("run.earlier-*"))
    assert earlier == ["run.earlier-1", "run.earlier-2"]
    assert all(len(list_steps(runs.folder / name / "steps")) == 2 for name in earlier)


def test_steps_with_new_tokens_have_their_tokenizer(runs: Runs) -> None:
    vocabulary = {"corpus": str(runs.corpus / "train.jsonl"), "column": "bo", "language": "bo", "tokens": 5}
    recipe = runs.recipe("sft", [KEEP])
    recipe["model"]["init_args"]["vocabulary"] = {**vocabulary, "min_count": 1}
    recipe["trainer"]["max_steps"] = 2
    folder = runs.folder / "run"
    from semalign_pl.cli import main
    from semalign_pl.policy.vocabulary import added_tokens_digest

    cli = main(["fit", "--config", str(runs.write(recipe)), f"--trainer.default_root_dir={folder}"])
    from transformers import AutoTokenizer

    tokens = added_tokens_digest(cli.model.policy.encoder.tokenizer)
    for path in list_steps(folder / "steps").values():
        assert added_tokens_digest(AutoTokenizer.from_pretrained(path)) == tokens
    first, last = kept(folder).values()
    (rows,) = (key for key in first if "trainable_tokens" in key or "token_adapter" in key)
    assert not torch.equal(first[rows], last[rows])


def test_a_number_of_steps_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"KeepSteps.every_n_steps: 0 is not a positive number of steps"):
        KeepSteps(0)
