"""Two gloo processes on CPU, started like torchrun's: equal weights, and each row once."""

from __future__ import annotations

import json
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.small_runs import Runs, weights

from semalign_pl.modules import SFTModule

TWO = ["trainer.devices=2", "trainer.strategy=ddp"]
FINGERPRINT = {"class_path": "helpers.run_callbacks.Fingerprint"}
EVALUATION = {"class_path": "semalign_pl.callbacks.Evaluation"}


def two(runs: Runs, command: str, stage: str, name: str, *flags: str, **options: list) -> None:
    for code, log in runs.processes(runs.args(command, stage, name, *TWO, *flags, **options), ranks=2):
        assert code == 0, log


@pytest.mark.slow
@pytest.mark.parametrize("update", ["sft", "grpo", "best_of_group", "cpo"])
def test_both_processes_end_with_the_same_weights(runs: Runs, update: str) -> None:
    # The ranks have different numbers of micro-batches: 5 rows in threes, 4 samples of 2 prompts.
    stage = "sft" if update == "sft" else "grpo"
    options = ["trainer.max_steps=3", "data.init_args.batch_size=5"] if stage == "sft" else ["trainer.max_steps=3"]
    options += [f"model.init_args.loss_type={update}"] if update in ("best_of_group", "cpo") else []
    two(runs, "fit", stage, "two", *options, callbacks=[FINGERPRINT])
    first, second = ((runs.folder / "two" / f"fingerprint-{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert any(weight.any() for name, weight in weights(runs.folder / "two").items() if "lora_B" in name)
    assert [row["step"] for row in runs.metrics("two")] == ["0", "1", "2"]


@pytest.mark.slow
def test_a_test_has_every_row_once_and_the_scores_of_one_process(runs: Runs, sft_adapter: str) -> None:
    # Seven rows: one process has four of them, the other three.
    options = ["data.init_args.eval_limit=7", "model.init_args.max_new_tokens=12"]
    options += [f"model.init_args.adapter={sft_adapter}", "model.init_args.lora=null"]  # the bare base says nothing
    evaluation = {**EVALUATION, "init_args": {"encoder": runs.encoder}}
    drift = {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt")}}
    runs("test", "sft", "one", *options, callbacks=[evaluation, drift])
    two(runs, "test", "sft", "two", *options, callbacks=[evaluation, drift])
    one, both = files_of_test(runs, "one"), files_of_test(runs, "two")
    # Cosines depend on which texts the encoder has in one batch.
    for row, item in zip(one["predictions"], one["items"], strict=False):
        for scores in (row["scores"], item["statistics"]):
            scores["semantic_similarity"] = pytest.approx(scores["semantic_similarity"], abs=1e-6)
    similarity = one["metrics"]["semantic_similarity"]
    assert similarity["ci"][0] < similarity["value"] < similarity["ci"][1]
    similarity |= {key: pytest.approx(similarity[key], abs=1e-6) for key in ("value", "ci")}
    assert both == one and len(one["predictions"]) == 7
    assert {item["set"] for item in one["items"]} == {"test", "drift"} and one["histograms"]


def files_of_test(runs: Runs, name: str) -> dict[str, Any]:
    """Content of the files that a test wrote, without the run's name and times."""
    results, items = runs.results(name), [{**item, "system": None} for item in runs.items(name)]
    kinds = {kind: results[kind] for kind in ("metrics", "histograms", "point")}
    return {"predictions": runs.predictions(name), "items": items, **kinds}


@pytest.mark.slow
def test_the_cli_starts_the_processes_itself(runs: Runs) -> None:
    args = runs.args("fit", "grpo", "two", *TWO, "trainer.max_steps=1")
    command = [sys.executable, "-m", "semalign_pl", *args]
    done = subprocess.run(command, env=runs.environment(), capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    assert json.loads((runs.folder / "two" / "adapter" / "adapter_config.json").read_text())["r"] == 4


def test_a_sharding_strategy_is_refused(base: str) -> None:
    from lightning.pytorch.strategies import FSDPStrategy

    module = SFTModule(base, weights="fp32")
    module._trainer = SimpleNamespace(strategy=FSDPStrategy())
    with pytest.raises(ValueError, match="trainer.strategy: FSDPStrategy shards the model.*use `ddp`"):
        module.configure_model()
