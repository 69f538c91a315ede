"""``val/loss`` is the mean over all reference tokens, for any batches and ranks; checkpoints are chosen by it."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs
from helpers.tiny import plain_logps
from transformers import AutoTokenizer

from semalign_pl.__main__ import main
from semalign_pl.data import CorpusDataModule
from semalign_pl.modules import SFTModule

FLAGS = ["trainer.max_steps=2", "model.init_args.max_new_tokens=60"]


def validated(runs: Runs) -> str:
    return f"data.init_args.validation={runs.corpus / 'dev.jsonl'}"


def by_hand(runs: Runs, model: SFTModule) -> float:
    """NLL of all reference tokens: one plain forward pass per row, summed and divided once."""
    rows = [json.loads(line) for line in (runs.corpus / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    prompts = [example.prompt for example in _examples(runs)]
    policy = model.policy.eval()
    nats, tokens = 0.0, 0
    with torch.no_grad():
        for row, prompt in zip(rows, prompts, strict=True):
            completion = policy.encoder.encode_completion(row["bo"])
            logps = plain_logps(policy.model, policy.encoder.encode_prompt(prompt, 1000), completion)
            nats, tokens = nats - float(logps.double().sum()), tokens + len(completion)
    return nats / tokens


def _examples(runs: Runs) -> Any:
    data = CorpusDataModule(validation=str(runs.corpus / "dev.jsonl"))
    data.setup("validate")
    return data.examples["validation"]


@pytest.mark.parametrize("size", [3, 8])
def test_val_loss_is_the_mean_over_reference_tokens(runs: Runs, size: int) -> None:
    """Batches of 3, 3 and 2 rows of unequal length are weighted by their tokens; dropout is off."""
    cli = runs("fit", "sft", "run", *FLAGS, validated(runs), "trainer.val_check_interval=2",
               f"data.init_args.eval_batch_size={size}")  # fmt: skip
    logged = [float(row["val/loss"]) for row in runs.metrics() if row["val/loss"]]
    assert logged == [pytest.approx(by_hand(runs, cli.model), rel=1e-5)]
    assert [float(row["val/rows_too_long"]) for row in runs.metrics() if row["val/loss"]] == [0]


@pytest.mark.slow
def test_two_ranks_log_the_loss_of_one(runs: Runs) -> None:
    """Seven rows: one rank has four, the other three."""
    flags = [validated(runs), "data.init_args.eval_limit=7", "model.init_args.max_new_tokens=60"]
    cli = runs("validate", "sft", "one", *flags)
    expected = float(cli.trainer.callback_metrics["val/loss"])
    flags += ["trainer.devices=2", "trainer.strategy=ddp"]
    two = runs.args(
        "validate", "sft", "two", *flags, callbacks=[{"class_path": "helpers.run_callbacks.ValidationLoss"}]
    )
    for rank, (code, log) in enumerate(runs.processes(two, ranks=2)):
        assert code == 0, log
        assert float((runs.folder / "two" / f"loss-{rank}").read_text()) == pytest.approx(expected, rel=1e-6)


def test_rows_longer_than_training_takes_are_left_out_and_counted(runs: Runs) -> None:
    tokenizer = AutoTokenizer.from_pretrained(runs.base)
    lengths = sorted(len(tokenizer(example.reference).input_ids) + 1 for example in _examples(runs))  # with EOS
    cli = runs("validate", "sft", "run", validated(runs), f"model.init_args.max_new_tokens={lengths[3]}")
    left_out = sum(length > lengths[3] for length in lengths)
    assert 0 < left_out < len(lengths)
    assert cli.trainer.callback_metrics["val/rows_too_long"] == left_out


def test_stopping_and_keeping_the_best_by_val_loss_and_its_way_to_an_adapter(
    runs: Runs, capsys: pytest.CaptureFixture[str]
) -> None:
    """The loss is maximised, so that the best step is not the last; PEFT reads the adapter of the best checkpoint."""
    folder = runs.folder / "run"
    keep = {"dirpath": str(folder / "best"), "monitor": "val/loss", "mode": "min", "filename": "{step}-{val/loss:.2f}"}
    callbacks = [
        {"class_path": "EarlyStopping", "init_args": {"monitor": "val/loss", "patience": 2, "mode": "min"}},
        {"class_path": "ModelCheckpoint", "init_args": {**keep, "auto_insert_metric_name": False}},
    ]
    often = ["data.init_args.eval_limit=2", "trainer.max_steps=12", "trainer.val_check_interval=2"]
    often += ["model.init_args.optimizer.init_args.maximize=true"]
    cli = runs("fit", "sft", "run", validated(runs), *often, callbacks=callbacks)
    losses = [float(row["val/loss"]) for row in runs.metrics() if row["val/loss"]]
    best = 2 * (losses.index(min(losses)) + 1)
    assert cli.trainer.global_step == 2 * len(losses) == best + 4 < 12
    [saved] = (folder / "best").iterdir()
    assert saved.name == f"{best}-{min(losses):.2f}.ckpt"

    out = folder / "of-best"
    assert main(["export", "--config", str(folder / "fit.yaml"), "--ckpt_path", str(saved), "--out", str(out)]) == 0
    assert f"written: {out / 'adapter'}" in capsys.readouterr().out
    trained = torch.load(saved, weights_only=True)["state_dict"]
    assert_read_by_peft(out / "adapter", trained)
    facts = json.loads((out / "adapter" / "training.json").read_text(encoding="utf-8"))
    assert (facts["stage"], facts["steps"], facts["checkpoint"]) == ("sft", best, str(saved))

    assert main(["export", "--config", str(folder / "fit.yaml"), "--ckpt_path", str(folder / "none.ckpt")]) == 2
    assert "none.ckpt is no file" in capsys.readouterr().err


def assert_read_by_peft(folder: Any, state: dict[str, torch.Tensor]) -> None:
    from peft import AutoPeftModelForCausalLM, get_peft_model_state_dict

    model: Any = AutoPeftModelForCausalLM.from_pretrained(folder)
    read = get_peft_model_state_dict(model)
    assert read.keys() == state.keys()
    assert all(torch.equal(read[name], value) for name, value in state.items())
