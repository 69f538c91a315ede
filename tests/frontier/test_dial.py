"""``semalign dial`` on a small adapter: the search, its table, the exported folder, and mistakes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs

from semalign_pl.__main__ import main
from semalign_pl.run.overview import find_runs

QUIET = "--trainer.enable_progress_bar=false"


@pytest.fixture
def recipe(runs: Runs) -> Path:
    """Recipe with a probe of drift and one of reading, which the tiny base cannot do."""
    drift = {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt")}}
    reading = {"class_path": "ReadingComprehensionProbe", "init_args": {"file": str(runs.corpus / "reading.json")}}
    written = runs.recipe("sft", [{"class_path": "Evaluation"}, drift, reading])
    written["model"]["init_args"] |= {"max_new_tokens": 8}
    return runs.write(written, "dial")


def read(out: Path) -> dict[str, Any]:
    return json.loads((out / "dial.json").read_text(encoding="utf-8"))


def logits(base: str, adapter: Path | None, scale: float = 1.0) -> torch.Tensor:
    """Logits of plain transformers and PEFT, with ``lora_B`` multiplied by a scale."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, str(adapter))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                weight.data *= scale
    with torch.no_grad():
        return model.eval()(input_ids=torch.arange(3, 40)[None]).logits


def test_the_largest_scale_within_the_budget(
    runs: Runs, recipe: Path, sft_adapter: str, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The adapter has no training.json, as one that another trainer wrote."""
    out = runs.folder / "out"
    assert not (Path(sft_adapter) / "training.json").exists()
    probe = ["dial", sft_adapter, "--config", str(recipe), "--out", str(out), QUIET]
    assert main([*probe, "--lose", "kl_mean=1000"]) == 0  # all of it may be used
    whole = read(out)
    assert whole["chosen"] == 1 and [one["scale"] for one in whole["scales"]] == [0, 1]
    end = whole["scales"][1]["losses"]["kl_mean"]
    assert 0 < end["value"] < end["bound"] and end["items"] == 6
    assert torch.equal(logits(runs.base, out / "adapter"), logits(runs.base, Path(sft_adapter)))

    budget = end["value"] / 5
    capsys.readouterr()
    assert main([*probe, "--lose", f"kl_mean={budget},cmrc_f1=50"]) == 0
    assert "--lose cmrc_f1=50 limits nothing: the base has 0, all of which may be lost" in caplog.text
    printed = " ".join(capsys.readouterr().out.split())
    found = read(out)
    by_scale = {one["scale"]: one for one in found["scales"]}
    chosen, larger = by_scale[found["chosen"]], [s for s in by_scale if s > found["chosen"]]
    assert 0 < chosen["losses"]["kl_mean"]["value"] < chosen["losses"]["kl_mean"]["bound"] <= budget
    assert by_scale[min(larger)]["losses"]["kl_mean"]["bound"] > budget
    assert 0.5 < chosen["used"] <= 1 and len(by_scale) <= 8
    assert printed.count("tested before") == 2 and "scale-1: tested before" in printed  # of the search above
    assert f"chosen │ {found['chosen']:g}" in printed and f"written: {out}/adapter" in printed
    # PEFT alone reads the adapter, whose logits are those of the scaled update.
    scaled = logits(runs.base, Path(sft_adapter), found["chosen"])
    assert (logits(runs.base, out / "adapter") - scaled).abs().max() < 1e-6
    # The same search again tests nothing, and writes the same adapter.
    weights = (out / "adapter" / "adapter_model.safetensors").read_bytes()
    shutil.rmtree(out / "adapter")
    assert main([*probe, "--lose", f"kl_mean={budget},cmrc_f1=50"]) == 0
    assert capsys.readouterr().out.count("tested before") == len(by_scale)
    assert (out / "adapter" / "adapter_model.safetensors").read_bytes() == weights
    # The quality of the end points is that of separate tests.
    for adapter, scale in ((None, 0.0), (sft_adapter, 1.0), (out / "adapter", found["chosen"])):
        given = ["--model.init_args.adapter", "null" if adapter is None else str(adapter)]
        root = f"--trainer.default_root_dir={runs.folder / 'test'}"
        assert main(["test", "--config", str(recipe), *given, "--model.init_args.lora=null", root, QUIET]) == 0
        metrics = runs.results("test")["metrics"]
        assert by_scale[scale]["quality"] == pytest.approx(metrics["chrf"]["value"], abs=1e-6)
        assert by_scale[scale]["losses"]["kl_mean"]["value"] == pytest.approx(metrics["kl_mean"]["value"], abs=1e-5)


def test_the_folder_is_used_as_a_runs(
    runs: Runs, recipe: Path, sft_adapter: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its adapter is tested, translated with and merged; at the start, the update is smaller than the whole one."""
    out = runs.folder / "sft" / "dial"
    lose = ["--lose", "kl_mean=0.00001", "--confidence", "0.5"]
    assert main(["dial", sft_adapter, "--config", str(recipe), "--out", str(out), QUIET, *lose]) == 0
    assert 0 < read(out)["chosen"] < 1
    assert main(["test", "--config", str(out / "fit.yaml"), QUIET]) == 0
    assert [state.state for state in find_runs(runs.folder) if state.path == out] == ["tested"]
    row = json.loads((out / "predictions.jsonl").read_text(encoding="utf-8").split("\n")[0])
    source = json.loads((runs.corpus / "dev.jsonl").read_text(encoding="utf-8").split("\n")[0])["zh"]
    capsys.readouterr()
    assert main(["translate", str(out), "--text", source]) == 0
    assert capsys.readouterr().out.split() == row["prediction"].split()
    assert main(["export", str(out), "--merge"]) == 0
    model = out / "export" / "model"
    assert "| chrf | 0 |" in (model / "README.md").read_text(encoding="utf-8")
    assert (logits(str(model), None) - logits(runs.base, out / "adapter")).abs().max() < 1e-4


def test_from_another_adapter(runs: Runs, recipe: Path, sft_adapter: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The losses are against the base, also where scale 0 is another adapter; then that may be too much already."""
    out = runs.folder / "out"
    root = f"--trainer.default_root_dir={runs.folder / 'more'}"
    assert main(["fit", "--config", str(recipe), f"--model.init_args.adapter={sft_adapter}", root, QUIET,
                 "--model.init_args.lora=null", "--model.init_args.max_new_tokens=40"]) == 0  # fmt: skip
    adapter = str(runs.folder / "more" / "adapter")
    probe = ["dial", adapter, "--config", str(recipe), "--out", str(out), QUIET, "--scale_from", "start"]
    assert main([*probe, "--lose", "kl_mean=1000"]) == 0
    start = read(out)["scales"][0]
    assert start["scale"] == 0 and start["losses"]["kl_mean"]["value"] > 0
    capsys.readouterr()
    assert main([*probe, "--lose", f"kl_mean={start['losses']['kl_mean']['value'] / 2}"]) == 2
    assert read(out)["chosen"] is None
    assert f"dial.json; {out}/adapter is of an earlier search)" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lose", "cmrc_f1"], "--lose: 'cmrc_f1' is not METRIC=MOST; write e.g. cmrc_f1=2,nll_change_mean=0.02"),
        (["--lose", "cmrc_f1=two"], "--lose: 'cmrc_f1=two' is not METRIC=MOST"),
        (["--lose", "cmrc_f1=-2"], "--lose: cmrc_f1=-2 is no loss to accept; give a number above 0"),
        (["--lose", "cmrc_f1=0"], "--lose: cmrc_f1=0 is no loss"),
        (["--lose", "kl_mean=1,kl_mean=2"], "--lose: kl_mean is named twice"),
        (
            ["--lose", "kl_mean=1", "--confidence", "95"],
            "--confidence: 95.0 is not from 0.5 to below 1; give e.g. 0.95",
        ),
        (["--lose", "=1"], "--lose: '=1' is not METRIC=MOST"),
        ([], "--lose: missing; see semalign dial --help"),
    ],
)
def test_mistakes_before_anything_is_loaded(
    recipe: Path, sft_adapter: str, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    assert main(["dial", sft_adapter, "--config", str(recipe), *flags]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]


def test_no_adapter(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dial", "nowhere", "--config", str(recipe), "--lose", "kl_mean=1"]) == 2
    assert "ADAPTER: there is no folder nowhere" in capsys.readouterr().err
    assert main(["dial", "--lose", "kl_mean=1", "--config", str(recipe)]) == 2
    assert "the first argument is the adapter to scale" in capsys.readouterr().err


@pytest.mark.parametrize("read_too", [False, True])
def test_an_adapter_is_not_replaced_by_its_scaled_one(
    runs: Runs, recipe: Path, sft_adapter: str, capsys: pytest.CaptureFixture[str], read_too: bool
) -> None:
    """Neither the adapter that is scaled, nor the one at scale 0."""
    run = runs.folder / "trained"
    shutil.copytree(sft_adapter, run / "adapter")
    before = (run / "adapter" / "adapter_model.safetensors").read_bytes()
    given = [sft_adapter, "--scale_from", str(run / "adapter")] if read_too else [str(run / "adapter")]
    args = ["dial", *given, "--config", str(recipe), "--lose", "kl_mean=1000", "--out", str(run), QUIET]
    assert main(args) == 2
    assert f"--out: {run}/adapter is an adapter that is scaled, and the result would" in capsys.readouterr().err
    assert (run / "adapter" / "adapter_model.safetensors").read_bytes() == before
    assert [path.name for path in run.iterdir()] == ["adapter"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--lose", "kl_men=1"], "--lose: nothing in the recipe measures 'kl_men'; did you mean kl_mean?"),
        (["--lose", "forward_kl=1"], "measures 'forward_kl'; there is bleu4"),
        (["--lose", "kl_p90=1"], "--lose: kl_p90 is no sum over items, so its loss has no bound"),
        (["--lose", "kl_mean=1", "--quality", "comet"], "--quality: nothing in the recipe measures 'comet'"),
        (["--lose", "kl_mean=1e-9"], "no tested scale above 0 is surely within it; allow more"),
    ],
)
def test_mistakes_in_metrics(
    runs: Runs, recipe: Path, sft_adapter: str, capsys: pytest.CaptureFixture[str], flags: list[str], message: str
) -> None:
    out = f"--out={runs.folder / 'out'}"
    assert main(["dial", sft_adapter, "--config", str(recipe), *flags, out, QUIET]) == 2
    assert message in capsys.readouterr().err.strip().splitlines()[-1]
    assert not (runs.folder / "out" / "adapter").exists()
