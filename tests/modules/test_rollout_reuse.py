"""Drafts from the epoch before save decoding and change no result of a run."""

from __future__ import annotations

import pytest
from helpers.small_runs import Runs, assert_same, weights

from semalign_pl.modules.rollout_reuse import RolloutReuse
from semalign_pl.modules.sampling import ROLLOUT_ROWS, check_server
from semalign_pl.types import Example

EPOCHS = ["data.init_args.limit=8", "trainer.max_steps=10", "model.init_args.reuse_rollouts=true"]  # 4 steps each


def test_a_run_with_drafts_equals_one_without(runs: Runs) -> None:
    shown = ("trainer.enable_model_summary=true", "trainer.enable_progress_bar=true")  # samples a page before training
    runs("fit", "grpo", "drafts", *EPOCHS, *shown)
    runs("fit", "grpo", "none", *EPOCHS, callbacks=[{"class_path": "helpers.run_callbacks.ForgetRollouts"}])
    assert_same(weights(runs.folder / "drafts"), weights(runs.folder / "none"))
    shares = {
        name: [float(row["train/reused_tokens"]) for row in runs.metrics(name) if row.get("train/reused_tokens")]
        for name in ("drafts", "none")
    }
    assert shares["none"] == [0.0] * 10
    assert shares["drafts"][:4] == [0.0] * 4 and max(shares["drafts"][4:]) > 0.3


def test_each_row_has_its_own_seed_in_every_epoch_and_every_run() -> None:
    rows = [Example(f"train.jsonl:{n}", "p", "r") for n in (1, 2, 1)]
    prompts = [[5, 6]] * 3
    one, other = (RolloutReuse(seed) for seed in (0, 1))
    keys = one.keys(rows, prompts)
    assert len(set(keys)) == len(set(one.seeds(keys))) == 3  # the same row twice in a step has other samples
    assert one.keys(rows[1:2], prompts[:1]) == keys[1:2]  # whatever else is in the batch
    assert one.keys(rows, [[5, 7]] * 3)[0] != keys[0]  # another prompt, another text to complete
    assert not set(one.seeds(keys)) & set(other.seeds(keys))


def test_a_server_takes_no_drafts() -> None:
    with pytest.raises(ValueError, match=r"^model\.init_args\.reuse_rollouts: true: .*leave it out$"):
        check_server({}, ROLLOUT_ROWS, True, "stored", reuse_rollouts=True)
    check_server({}, ROLLOUT_ROWS, True)
