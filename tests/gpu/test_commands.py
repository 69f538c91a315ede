"""Commands on CUDA: resuming, a frontier, an out-of-memory error, and the quickstart's recipes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.small_runs import Runs, weights
from helpers.tiny import relative

from semalign_pl.__main__ import main

GPU = "trainer.accelerator=gpu"


@pytest.mark.parametrize("weight", ["fp32", "nf4"])
@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_resumed_equals_straight(runs: Runs, stage: str, weight: str, within) -> None:
    """Sums on CUDA may be in another order from run to run, so equal up to rounding; dropout is active."""
    options = [GPU, f"model.init_args.weights={weight}", "trainer.max_steps=6"]
    runs("fit", stage, "straight", *options, callbacks=[runs.checkpoints("straight", 3)])
    at_three = runs.folder / "straight" / "step=3.ckpt"
    saved = torch.load(at_three, weights_only=True)
    assert {tensor.device.type for tensor in saved["state_dict"].values()} <= {"cuda", "cpu"}
    runs("fit", stage, "resumed", *options, f"ckpt_path={at_three}")
    straight, resumed = weights(runs.folder / "straight"), weights(runs.folder / "resumed")
    difference = max(relative(resumed[name], straight[name]) for name in straight)
    within("weights", difference, 1e-4 if weight == "fp32" else 2e-2)
    moved = max(
        relative(saved["state_dict"][name].cpu(), straight[name]) for name in straight if name in saved["state_dict"]
    )
    assert moved > 10 * difference or moved == 0


def test_frontier(runs: Runs) -> None:
    """Points on CUDA have the results of separate tests on CUDA."""
    callbacks = [
        {"class_path": "Evaluation", "init_args": {"encoder": runs.encoder}},
        {"class_path": "ReadingComprehensionProbe", "init_args": {"file": str(runs.corpus / "reading.json")}},
        {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt")}},
    ]
    for quantised in ("fp32", "nf4"):
        own = [GPU, f"model.init_args.weights={quantised}"]
        runs("fit", "sft", quantised, *own, "trainer.max_steps=4")
        run = runs.folder / quantised
        recipe = runs.write(runs.recipe("sft", callbacks), "frontier")
        command = ["frontier", str(run / "adapter"), "--config", str(recipe), "--out", str(run), "--scales", "0.5,0"]
        assert main([*command, *(f"--{flag}" for flag in own)]) == 0
        runs("test", "sft", "alone", *own, f"model.init_args.adapter={run}/adapter", callbacks=callbacks)
        runs("test", "sft", "none", *own, callbacks=callbacks)
        for folder, alone in ((run, "alone"), (run / "points" / "scale-0", "none")):
            ours = json.loads((folder / "results.json").read_text(encoding="utf-8"))["metrics"]
            assert ours.keys() == runs.results(alone)["metrics"].keys()
            for name, metric in runs.results(alone)["metrics"].items():
                assert ours[name]["value"] == pytest.approx(metric["value"], abs=1e-3), (quantised, name)


def test_out_of_memory_is_one_line_with_what_to_lower(runs: Runs, capsys, cuda) -> None:
    """A card that is full but for a few MiB."""
    free, total = torch.cuda.mem_get_info(cuda)
    torch.cuda.set_per_process_memory_fraction(torch.cuda.memory_allocated(cuda) / total + 2e-5, cuda)
    torch.cuda.empty_cache()
    try:
        status = main(runs.args("fit", "sft", "run", GPU, "data.init_args.batch_size=40",
                                "model.init_args.micro_batch_tokens=8192"))  # fmt: skip
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0, cuda)
    assert status == 2
    [line] = [x for x in capsys.readouterr().err.splitlines() if x.startswith("semalign: error")]
    assert "out of memory" in line and "micro_batch_tokens" in line and "semalign plan" in line


@pytest.mark.slow
def test_quickstart_recipes(tmp_path: Path) -> None:
    """The recipes' files by the real command line, in processes of their own, on what `accelerator: auto` finds."""
    recipes = Path(__file__).parents[2] / "configs" / "quickstart"

    def semalign(*args: str, module: str = "semalign_pl") -> None:
        done = subprocess.run([sys.executable, "-m", module, *args], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]

    semalign("write", "runs/quickstart/world", module="semalign_pl.toy")
    auto = "--trainer.accelerator=auto"
    cold, grpo = (str(recipes / f"{name}.yaml") for name in ("cold_start", "semantic_grpo"))
    semalign("fit", "--config", cold, auto, "--trainer.max_steps=30")
    semalign("fit", "--config", grpo, auto, "--trainer.max_steps=10")
    adapter = "--model.init_args.adapter=runs/quickstart/semantic_grpo/adapter"
    semalign("test", "--config", grpo, auto, adapter)
    results = json.loads((tmp_path / "runs/quickstart/semantic_grpo/results.json").read_text(encoding="utf-8"))
    assert {"chrf", "cmrc_f1", "nll_change_mean"} <= results["metrics"].keys()
