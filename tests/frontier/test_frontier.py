"""``semalign frontier``: each point has the results of a separate test, and finished points are not tested again."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.bases import another_base
from helpers.command_errors import error_line
from helpers.frontier_study import Planted, write_json, write_run
from helpers.small_runs import Runs, weights
from lightning.pytorch.callbacks import Callback
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer

from semalign_pl.__main__ import main
from semalign_pl.frontier.command import show
from semalign_pl.frontier.measure import FinishedPoint, measure_point
from semalign_pl.frontier.measured_point import read_point
from semalign_pl.frontier.points import Point, scale_point
from semalign_pl.frontier.tester import PointTester
from semalign_pl.run.digests import Digests
from semalign_pl.run.lock import hold


class OwnNotes(Callback):
    """Callback of a user, which collects over the whole life of the object, and writes to the run's folder."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_test_batch_end(self, trainer, pl_module, outputs: Any, batch, batch_idx, dataloader_idx=0) -> None:
        self.seen += outputs["predictions"]

    def on_test_end(self, trainer, pl_module) -> None:
        text = json.dumps([self.seen, str(pl_module.adapter)])
        Path(trainer.default_root_dir, "notes.json").write_text(text, encoding="utf-8")


def callbacks(runs: Runs) -> list[dict[str, Any]]:
    return [
        {"class_path": "Evaluation", "init_args": {"encoder": runs.encoder}},
        {"class_path": "ReadingComprehensionProbe", "init_args": {"file": str(runs.corpus / "reading.json")}},
        {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt")}},
        {"class_path": f"{__name__}.OwnNotes"},
    ]


@pytest.fixture(scope="module")
def kept(base: str, encoder: str, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a run of four steps, of which every second one is kept."""
    runs = Runs(tmp_path_factory.mktemp("kept"), base, encoder, corpus)
    keep = {"class_path": "KeepSteps", "init_args": {"every_n_steps": 2}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["semalign"])
        runs("fit", "sft", "run", "trainer.max_steps=4", callbacks=[keep])
    return runs.folder / "run"


@pytest.fixture
def trained(kept: Path, runs: Runs) -> Path:
    """Copy of that folder, as the commands write to it."""
    return Path(shutil.copytree(kept, runs.folder / "run"))


def frontier(runs: Runs, run: Path, *flags: str, measured: list[dict[str, Any]] | None = None) -> list[str]:
    """Command line that tests a run's points, in its own folder."""
    recipe = runs.write(runs.recipe("sft", callbacks(runs) if measured is None else measured), "frontier")
    return ["frontier", str(run / "adapter"), "--config", str(recipe), "--out", str(run), *flags]


def read(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text(encoding="utf-8"))


def halve(adapter: Path, folder: Path) -> Path:
    """The adapter with half its update: LoRA's B times one half."""
    shutil.copytree(adapter, folder)
    state = load_file(adapter / "adapter_model.safetensors")
    halved = {key: tensor / 2 if ".lora_B." in key else tensor for key, tensor in state.items()}
    save_file(halved, folder / "adapter_model.safetensors")
    return folder


def test_each_point_has_the_results_of_a_separate_test(runs: Runs, trained: Path, capsys) -> None:
    """Scores with interval and signature, predictions, facts about the training, files of a user's own callback."""
    assert main(frontier(runs, trained, "--scales", "0.5,0")) == 0
    shown = capsys.readouterr().out
    adapters = {
        "step-2": trained / "steps" / "step-000002",
        "end": trained / "adapter",
        "scale-0.5": halve(trained / "adapter", runs.folder / "half"),
    }
    folders = {name: trained if name == "end" else trained / "points" / name for name in adapters}
    assert sorted(path.name for path in (trained / "points").iterdir() if path.is_dir()) == [
        "scale-0", "scale-0.5", "step-0", "step-2",
    ]  # fmt: skip
    drifts = set()
    for name, adapter in adapters.items():
        alone = runs.folder / f"alone-{name}"
        runs("test", "sft", alone.name, f"model.init_args.adapter={adapter}", callbacks=callbacks(runs))
        ours, theirs = read(folders[name]), read(alone)
        assert ours["metrics"] == theirs["metrics"]
        assert {k: ours["run"][k] for k in ("rows", "prompts_cut", "texts_cut_by_encoder", "decode", "seed")} == {
            k: theirs["run"][k] for k in ("rows", "prompts_cut", "texts_cut_by_encoder", "decode", "seed")
        }
        assert ours["run"]["trained"]["steps"] == theirs["run"]["trained"]["steps"] == (2 if name == "step-2" else 4)
        lines = (folders[name] / "predictions.jsonl").read_text(encoding="utf-8")
        assert lines == (alone / "predictions.jsonl").read_text(encoding="utf-8")
        drifts.add(ours["metrics"]["kl_mean"]["value"])
        notes = [
            json.loads((folder / "notes.json").read_text(encoding="utf-8"))[0] for folder in (folders[name], alone)
        ]
        assert notes[0] == notes[1] and len(notes[0]) == ours["run"]["rows"]
        assert (folders[name] / "corpus" / "test.json").read_text() == (alone / "corpus" / "test.json").read_text()
        assert f"{name}: chrf " in shown
    assert len(drifts) == 3 and min(drifts) > 1e-4  # the points differ
    for name in ("step-0", "scale-0"):  # both are the base
        drift = read(trained / "points" / name)["metrics"]
        assert drift["kl_mean"]["value"] == drift["nll_change_mean"]["value"] == 0


def test_a_score_without_a_value_is_left_out(tmp_path: Path, monkeypatch, capsys) -> None:
    """A score that is not finite is null in the files of a point, and so are the statistics of its items."""
    write_run(tmp_path, Planted(60, 90, 0.2))
    results = read(tmp_path)
    results["metrics"]["cmrc_f1"]["value"] = None
    write_json(tmp_path / "results.json", results)
    lines = (tmp_path / "items.jsonl").read_text(encoding="utf-8").replace('"cmrc_f1": [100.0]', '"cmrc_f1": [null]')
    (tmp_path / "items.jsonl").write_text(lines, encoding="utf-8")
    assert [*read_point(tmp_path).metrics] == ["chrf", "cmrc_em", "nll_change_mean"]
    with pytest.raises(ValueError, match="items cmrc have no list of finite numbers"):
        read_point(tmp_path, ["cmrc_f1"])
    monkeypatch.setattr(
        "semalign_pl.frontier.measure.measure", lambda *_: [FinishedPoint(Point("end", ()), results, 1.0, None)]
    )
    show(tmp_path, [], tmp_path, [], "base", None)
    shown = capsys.readouterr().out
    assert "end: chrf 60, nll_change_mean 0.2 (reused" in shown and "cmrc_f1" not in shown


def test_a_scale_of_the_recipe_is_not_applied_to_the_points(runs: Runs, trained: Path) -> None:
    """It is that of the adapter that the training starts from; its blend would have another rank than the points."""
    recipe = str(runs.write(runs.recipe("sft", callbacks(runs)[:1] + callbacks(runs)[2:3]), "scaled"))
    start = str(trained / "steps" / "step-000002")
    scaled = ["--model.init_args.adapter_scale", "0.5", "--model.init_args.scale_from", start]
    for out, flags in (("plain", []), ("scaled", scaled)):
        command = ["frontier", str(trained / "adapter"), "--config", recipe, "--out", str(runs.folder / out)]
        assert main([*command, "--scales", "0.5", *flags]) == 0
    for place in ("", "points/scale-0.5", "points/step-2"):
        assert read(runs.folder / "scaled" / place)["metrics"] == read(runs.folder / "plain" / place)["metrics"]


def test_results_and_settings_name_the_point(runs: Runs, trained: Path) -> None:
    assert main(frontier(runs, trained, "--scales", "0.5")) == 0
    adapter, step = str(trained / "adapter"), str(trained / "steps" / "step-000002")
    terms = {"end": (adapter, 1.0), "step-2": (step, 1.0), "scale-0.5": (adapter, 0.5)}
    for name, (path, weight) in terms.items():
        folder = trained if name == "end" else trained / "points" / name
        results = read(folder)
        assert results["point"] == name
        assert results["run"]["terms"] == [{"adapter": path, "weight": weight}]
        assert results["run"].get("adapter_scale") == (0.5 if name == "scale-0.5" else None)
        items = [json.loads(line) for line in (folder / "items.jsonl").read_text(encoding="utf-8").splitlines()]
        assert items and {(item["system"], item["point"]) for item in items} == {("run", name)}
    saved = yaml.safe_load((trained / "points" / "step-2" / "test.yaml").read_text(encoding="utf-8"))
    assert saved["model"]["init_args"]["adapter"] == step
    assert saved["trainer"]["default_root_dir"] == str(trained / "points" / "step-2")
    saved = yaml.safe_load((trained / "points" / "scale-0.5" / "test.yaml").read_text(encoding="utf-8"))
    assert (saved["model"]["init_args"]["adapter"], saved["model"]["init_args"]["adapter_scale"]) == (adapter, 0.5)


def test_the_base_model_is_a_point_without_terms(runs: Runs, trained: Path) -> None:
    recipe = ["--config", str(runs.write(runs.recipe("sft", callbacks(runs)[:3]), "base"))]
    tester = PointTester(recipe, [scale_point(str(trained / "adapter"), 0.5)])
    for name in ("first", "second"):  # also after another point
        base = tester.test(Point("base", ()), runs.folder / name / "points" / "base")
        assert base["metrics"]["kl_mean"]["value"] == base["metrics"]["nll_change_mean"]["value"] == 0
        assert (base["point"], base["run"]["terms"], base["run"]["trained"]) == ("base", [], None)
        end = tester.test(Point("end", ((str(trained / "adapter"), 1.0),)), runs.folder / name)
        assert end["metrics"]["kl_mean"]["value"] > 1e-4 and end["run"]["trained"]["steps"] == 4


def test_points_are_tested_again_only_if_what_they_depend_on_has_changed(runs: Runs, trained: Path, capsys) -> None:
    measured = [{"class_path": "Evaluation"}]

    def tested(*flags: str) -> list[str]:
        capsys.readouterr()
        assert main(frontier(runs, trained, "--scales", "0.5", *flags, measured=measured)) == 0
        lines = [line for line in capsys.readouterr().out.splitlines() if ": chrf " in line]
        assert [line.split(":")[0] for line in lines] == ["step-0", "step-2", "end", "scale-0.5"]
        return [line.split(":")[0] for line in lines if "reused" not in line]

    assert tested() == ["step-0", "step-2", "end", "scale-0.5"]
    assert tested() == []
    (trained / "points" / "step-2" / "results.json").unlink()
    assert tested() == ["step-2"]
    state = weights(trained)
    save_file({key: tensor * 1.5 for key, tensor in state.items()}, trained / "adapter" / "adapter_model.safetensors")
    assert tested() == ["end", "scale-0.5"]
    assert tested("--data.init_args.eval_limit", "3") == ["step-0", "step-2", "end", "scale-0.5"]


def test_the_base_is_tested_again_with_other_tokens(runs: Runs, sft_adapter: str) -> None:
    """A base model is tested with the tokenizer of the adapter that it is compared with."""
    adapter = str(shutil.copytree(sft_adapter, runs.folder / "trained" / "adapter"))
    recipe = str(runs.write(runs.recipe("sft", [{"class_path": "Evaluation"}])))
    out = runs.folder / "out"

    def reason() -> str | None:
        tester = PointTester(["--config", recipe], [scale_point(adapter, 0.5)])
        return measure_point(Point("base", ()), tester, out, Digests(out / "digests.json")).reason

    assert reason() == "is new" and reason() is None
    tokenizer = AutoTokenizer.from_pretrained(adapter)
    tokenizer.add_tokens(["་་་"])
    tokenizer.save_pretrained(adapter)
    assert "tokenizer.json changed" in str(reason())


def test_a_point_in_use_stops_the_command_and_loses_no_finished_one(runs: Runs, trained: Path, capfd) -> None:
    measured = [{"class_path": "Evaluation"}]
    args = frontier(runs, trained, "--scales", "0.5", measured=measured)
    with hold(trained / "points" / "scale-0.5", "test"):
        assert f"--out: {trained}/points/scale-0.5 is in use by another run" in error_line(capfd, args)
    done = {path: path.stat().st_mtime_ns for path in trained.rglob("results.json")}
    assert len(done) == 3
    assert main(args) == 0
    assert {path: path.stat().st_mtime_ns for path in done} == done and (trained / "points" / "scale-0.5").is_dir()
    with hold(trained, "test"):
        assert f"--out: {trained} is in use by another run" in error_line(capfd, args)


@pytest.mark.parametrize(
    ("flags", "answer"),
    [
        (["--scales", "0.5,1.5"], "--scales: 1.5 is outside 0 to 1"),
        (["--scales", "half"], "--scales"),
        (["--scales", "0.5", "--steps", "EMPTY"], "EMPTY has no folder step-N; train with the callback KeepSteps"),
        (["--scales", "0.5", "--trainer.callbacks", "[]"], "add {class_path: Evaluation"),
        (["--scales", "0.5", "--ckpt_path", "last"], "--ckpt_path: a frontier tests adapter folders"),
        (["--scales", "0.5", "--model.init_args.bose", "x"], "bose"),
    ],
)
def test_mistakes_get_one_line(
    runs: Runs, sft_adapter: str, flags: list[str], answer: str, tmp_path: Path, monkeypatch, capfd
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("EMPTY").mkdir()
    recipe = str(runs.write(runs.recipe("sft", [{"class_path": "Evaluation"}])))
    line = error_line(capfd, ["frontier", sft_adapter, "--config", recipe, "--out", "out", *flags])
    assert answer in line
    assert not list(Path("out").rglob("*.json"))


def test_an_adapter_of_another_base_is_refused_before_any_test(
    runs: Runs, sft_adapter: str, tmp_path: Path, capfd
) -> None:
    step = tmp_path / "steps" / "step-000002"
    shutil.copytree(sft_adapter, step)
    config = json.loads((step / "adapter_config.json").read_text(encoding="utf-8"))
    config["base_model_name_or_path"] = another_base(runs.base, tmp_path / "other", hidden_size=32)
    (step / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")
    recipe = str(runs.write(runs.recipe("sft", [{"class_path": "Evaluation"}])))
    args = ["frontier", sft_adapter, "--config", recipe, "--out", str(tmp_path / "out"), "--steps", str(step.parent)]
    assert f"{step} was made for the base {tmp_path / 'other'}" in error_line(capfd, args)
    assert not (tmp_path / "out").exists()


def test_scales_begin_at_the_adapter_that_was_trained_on(runs: Runs, trained: Path) -> None:
    """Two updates are added, so every point has twice the rank; scale 0 has the scores of the start itself."""
    measured, start = [*callbacks(runs)[:1], *callbacks(runs)[2:3]], str(trained / "adapter")
    args = ["trainer.max_steps=2", "model.init_args.lora=null", f"model.init_args.adapter={start}"]
    runs("fit", "sft", "next", *args)
    folder = runs.folder / "next"
    flags = ["--scales", "0,0.5", "--scale_from", "start"]
    assert main(frontier(runs, folder, *flags, measured=measured)) == 0
    adapter = str(folder / "adapter")
    half = read(folder / "points" / "scale-0.5")["run"]["terms"]
    assert half == [{"adapter": start, "weight": 0.5}, {"adapter": adapter, "weight": 0.5}]
    for name, tested in (("alone", start), ("alone-end", adapter)):
        runs("test", "sft", name, "model.init_args.lora=null", f"model.init_args.adapter={tested}", callbacks=measured)
    for ours, alone in ((folder / "points" / "scale-0", "alone"), (folder, "alone-end")):
        for name, score in runs.results(alone)["metrics"].items():
            assert read(ours)["metrics"][name]["value"] == pytest.approx(score["value"], rel=1e-4, abs=1e-6)


@pytest.mark.parametrize(
    ("args", "answer"),
    [
        (["--out", "out"], "the first argument is the adapter to test"),
        (["ADAPTER"], "--out: missing"),
        (["none", "--out", "out"], "none is not an adapter folder"),
    ],
)
def test_what_is_missing_is_named(sft_adapter: str, args: list[str], answer: str, tmp_path: Path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    args = [sft_adapter if arg == "ADAPTER" else arg for arg in args]
    assert answer in error_line(capfd, ["frontier", *args])


@pytest.mark.parametrize("command", [("frontier", "--out", "out"), ("dial", "--lose", "cmrc_f1=2")], ids=lambda c: c[0])
def test_a_mistake_is_the_only_line_of_a_process(command: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "adapter").mkdir()
    name, *options = command
    args = [sys.executable, "-m", "semalign_pl", name, "adapter", *options]
    ended = subprocess.run(args, cwd=tmp_path, capture_output=True, text=True)
    (line,) = ended.stderr.splitlines()
    assert ended.returncode == 2 and line.startswith("semalign: error: model.init_args.adapter: adapter is not an")
