"""A probe changes nothing: neither the trained weights, nor the modes, nor the random state."""

from __future__ import annotations

import csv
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.small_runs import Runs, assert_same, weights
from helpers.tiny import CPU
from lightning.pytorch import LightningModule, Trainer

from semalign_pl.callbacks import InterruptionCheckpoint, TaxBudget
from semalign_pl.modules.stage import StageModule
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.probes import Probe
from semalign_pl.run.history import RunLogger
from semalign_pl.types import Item, Measurement, MetricResult


def probes(runs: Runs, every_n_steps: int | None = 1) -> list[dict[str, Any]]:
    choices = runs.folder / "choices.jsonl"
    rows = [{"question": f"{n}?", "options": ["老师", "学生"], "answer": n % 2} for n in range(6)]
    choices.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    files = {
        "DriftProbe": runs.corpus / "text.txt",
        "ReadingComprehensionProbe": runs.corpus / "reading.json",
        "MultipleChoiceProbe": choices,
    }
    return [
        {"class_path": name, "init_args": {"file": str(file), "every_n_steps": every_n_steps}}
        for name, file in files.items()
    ]


def more_probes(runs: Runs) -> list[dict[str, Any]]:
    """Probes of generated answers, every step, on the corpus of pairs."""
    pairs, asked = str(runs.corpus / "dev.jsonl"), str(runs.folder / "ifeval.jsonl")
    row = {"prompt": "看书", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}
    Path(asked).write_text(json.dumps(row) + "\n", encoding="utf-8")
    given: dict[str, dict[str, Any]] = {
        "GenerationProbe": {"file": pairs, "prompt": "{bo}", "reference": "zh", "match": "f1"},
        "InstructionProbe": {"file": asked},
        "TranslationProbe": {
            "file": pairs,
            "task": {"class_path": "Translation", "init_args": {"source": "bo", "target": "zh"}},
        },
    }
    short = {"every_n_steps": 1, "max_new_tokens": 3}
    return [{"class_path": name, "init_args": {**options, **short}} for name, options in given.items()]


@pytest.mark.parametrize("stage", ["sft", "grpo"])
def test_weights_are_the_same_with_and_without_probes(runs: Runs, stage: str) -> None:
    runs("fit", stage, "without", "trainer.max_steps=4")
    runs("fit", stage, "with", "trainer.max_steps=4", callbacks=[*probes(runs), *more_probes(runs)])
    assert_same(weights(runs.folder / "with"), weights(runs.folder / "without"))
    logged = [row["probe/kl_mean"] for row in runs.metrics("with") if row["probe/kl_mean"]]
    assert len(logged) == 4 and all(float(kl) > 0 for kl in logged)
    assert len([row for row in runs.metrics("with") if row["probe/columns_accuracy"]]) == 4
    for name in ("generation_exact_match", "generation_f1", "ifeval_prompt_loose", "bo-zh_chrf"):
        assert sum(row[f"probe/{name}"] != "" for row in runs.metrics("with")) == 4


def test_the_share_of_the_time_that_probes_take_is_reported(runs: Runs, capsys, caplog) -> None:
    """In metrics.csv, in training.json, which results.json repeats, in the summary, and as a warning if it is large."""
    flags = ("trainer.max_steps=2", "trainer.enable_model_summary=true")
    began = time.monotonic()
    cli = runs("fit", "sft", "with", *flags, callbacks=probes(runs))
    took = time.monotonic() - began
    seconds = sum(c.seconds for c in cli.trainer.callbacks if isinstance(c, Probe))
    logged = [float(row["probe/time/share"]) for row in runs.metrics("with") if row["probe/time/share"]]
    training = json.loads((runs.folder / "with" / "adapter" / "training.json").read_text(encoding="utf-8"))
    assert len(logged) == 2 * 3 and all(0 < share < 1 for share in logged)  # each probe, after each step
    assert seconds / took < training["probe_time_share"] < 1
    share = float(re.search(r"probes +([0-9.]+) % of the time", capsys.readouterr().out)[1])
    # The summary comes after the export, and before the end of the process.
    assert 100 * seconds / took - 0.1 <= share <= 100 * training["probe_time_share"] + 0.1
    warnings = [record.message for record in caplog.records if "of the time of this run" in record.message]
    assert share > 10 and len(warnings) == 1 and warnings[0].endswith("raise every_n_steps, or lower limit")
    # Probes that measure only in a test take no time of the fit.
    runs("fit", "sft", "without", *flags, callbacks=probes(runs, every_n_steps=None))
    assert "of the time" not in capsys.readouterr().out
    training = json.loads((runs.folder / "without" / "adapter" / "training.json").read_text(encoding="utf-8"))
    assert "probe_time_share" not in training


def test_every_n_steps_and_the_test(runs: Runs) -> None:
    fitted = runs("fit", "sft", "run", "trainer.max_steps=5", callbacks=probes(runs, every_n_steps=2))
    logged = [row["step"] for row in runs.metrics() if row["probe/cmrc_f1"]]
    assert logged == ["1", "3"]
    assert all(not c.measurement.scores for c in fitted.trainer.callbacks if isinstance(c, Probe))
    written = {"class_path": "Evaluation"}
    tested = runs("test", "sft", "run", callbacks=[*probes(runs, every_n_steps=None), written])
    scores = [c.measurement.scores for c in tested.trainer.callbacks if isinstance(c, Probe)]
    assert scores[0]["kl_mean"].value == 0 and "cmrc_avg" in scores[1]


def drift_probes(runs: Runs, names: list[str | None], every_n_steps: int | None = 1) -> list[dict[str, Any]]:
    """A DriftProbe of the same text under each name."""
    options = {"file": str(runs.corpus / "text.txt"), "every_n_steps": every_n_steps}
    return [{"class_path": "DriftProbe", "init_args": {**options, "name": name}} for name in names]


@pytest.mark.parametrize(
    "others",
    [
        [],
        [{"class_path": "TaxBudget", "init_args": {"budget": {"nll_change_mean": 1.0}}}],
        [
            {"class_path": "Evaluation"},
            {"class_path": "FrontierScore", "init_args": {"prices": {"nll_change_mean": 1.0}}},
        ],
    ],
    ids=["", "TaxBudget", "FrontierScore"],
)
def test_two_probes_that_measure_one_score_are_refused_in_training(runs: Runs, others: list[dict[str, Any]]) -> None:
    flags = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", "model.init_args.beta=0.1"]
    with pytest.raises(ValueError, match="DriftProbe measures the .*, and so does another callback before it; give"):
        runs("fit", "sft", "run", *flags, "trainer.max_steps=2", callbacks=[*drift_probes(runs, [None] * 2), *others])
    measured = (runs.folder / "run" / "metrics.csv").is_file()
    assert measured == (not others)  # the others measure before the first step


def test_probes_with_names_of_their_own_are_told_apart(runs: Runs) -> None:
    budget = {"class_path": "TaxBudget", "init_args": {"budget": {"english_nll_change_mean": 1.0}}}
    callbacks = [*drift_probes(runs, [None, "english"]), budget]
    runs("fit", "sft", "run", "model.init_args.beta=0.1", "trainer.max_steps=2", callbacks=callbacks)
    (first, _), (second, _) = (
        [(row[f"probe/{name}nll_change_mean"], row["step"]) for row in runs.metrics() if row[f"probe/{name}kl_p90"]]
        for name in ("", "english_")
    )
    assert first == second != ""
    runs("test", "sft", "run", callbacks=[*drift_probes(runs, [None, "english"], None), {"class_path": "Evaluation"}])
    results = runs.results()
    plain, named = (results["metrics"][f"{name}kl_mean"] for name in ("", "english_"))
    assert named == {**plain, "items": "english"} and plain["items"] == "drift"
    assert results["histograms"]["english_kl"] == results["histograms"]["kl"]
    statistics = {item["set"]: item["statistics"] for item in runs.items()}
    assert statistics["english"] == {f"english_{name}": value for name, value in statistics["drift"].items()}


class Toy(StageModule):
    """Module with one weight and a KL weight, for probes that need no policy."""

    stage = "toy"

    def __init__(self) -> None:
        super().__init__(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1))
        self.layer = torch.nn.Linear(1, 1)
        self.beta = 0.04

    def training_step(self, batch: list[torch.Tensor], batch_idx: int) -> None:
        self.accumulate(self.layer(batch[0].float().view(-1, 1)).pow(2).mean())
        self.update()
        self.log_train({"beta_used": torch.tensor(self.beta)}, 1)


class Fading(Probe):
    """Score that falls with every step; ends the run when it measures at a given step."""

    def __init__(self, name: str, every_n_steps: int, fails_at: int = -1) -> None:
        super().__init__(every_n_steps)
        self.name, self.fails_at = name, fails_at

    def run(self, pl_module: LightningModule) -> Measurement:
        if pl_module.global_step == self.fails_at:
            raise RuntimeError("second Ctrl-C")
        return Measurement({self.name: MetricResult(50.0 - pl_module.global_step, None, "")})

    def measure(self, policy: Policy) -> Measurement:
        raise NotImplementedError


def fit_toy(folder: Path, checkpoint: Path | None = None, fails_at: int = -1) -> TaxBudget:
    """Train eight steps with two probes of one class, of which the second may fail."""
    torch.manual_seed(0)
    budget = TaxBudget({"a_f1": -10.0, "b_f1": -8.0})
    trainer = Trainer(
        max_steps=8,
        callbacks=[budget, Fading("a_f1", 2), Fading("b_f1", 4, fails_at), InterruptionCheckpoint()],
        default_root_dir=folder,
        accelerator="cpu",
        logger=RunLogger(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        log_every_n_steps=1,
    )
    data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(torch.arange(8)), batch_size=1)
    trainer.fit(Toy(), data, ckpt_path=checkpoint, weights_only=True)
    return budget


def values(folder: Path, prefix: str) -> list[tuple[str, str, str]]:
    """Step, column and value of the logged values whose names begin with ``prefix``."""
    with (folder / "metrics.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return [
        (row["step"], name, row[name]) for row in rows for name in sorted(row) if name.startswith(prefix) and row[name]
    ]


def test_a_measurement_that_was_interrupted_is_made_on_resume(tmp_path: Path) -> None:
    """Of two probes that are due at step 4, the first has measured; both are of one class."""
    straight = fit_toy(tmp_path / "straight")
    with pytest.raises(RuntimeError, match="second Ctrl-C"):
        fit_toy(tmp_path / "part", fails_at=4)
    checkpoint = tmp_path / "part" / "checkpoints" / "interrupted.ckpt"
    resumed = fit_toy(tmp_path / "part", checkpoint)
    assert [entry["step"] for entry in straight.history] == [0, 2, 4, 6, 8]
    assert resumed.history == straight.history and len({entry["beta"] for entry in straight.history}) > 2
    for prefix in ("probe/a_f1", "probe/b_f1"):
        assert values(tmp_path / "part", prefix) == values(tmp_path / "straight", prefix)
    lost = ("3", "train/beta_used")  # the interrupted step logged nothing
    used = [row for row in values(tmp_path / "straight", "train/beta_used") if row[:2] != lost]
    assert values(tmp_path / "part", "train/beta_used") == used


def test_an_earlier_checkpoint_leaves_nothing_due(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="second Ctrl-C"):
        fit_toy(tmp_path, fails_at=4)
    checkpoint = tmp_path / "checkpoints" / "interrupted.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    assert content.pop("semalign_probes") == {"Fading/0": 4, "Fading/1": 3}
    for key in ("measured_at", "before"):
        del content["callbacks"]["TaxBudget"][key]
    torch.save(content, checkpoint)
    resumed = fit_toy(tmp_path, checkpoint)
    assert [entry["step"] for entry in resumed.history] == [0, 2, 4, 6, 8]
    assert [row[0] for row in values(tmp_path, "probe/b_f1")] == ["7"]


def test_a_budget_that_is_new_on_resume_measures_its_start_first(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="second Ctrl-C"):
        fit_toy(tmp_path, fails_at=4)
    checkpoint = tmp_path / "checkpoints" / "interrupted.ckpt"
    content = torch.load(checkpoint, weights_only=True)
    del content["callbacks"]["TaxBudget"]
    torch.save(content, checkpoint)
    resumed = fit_toy(tmp_path, checkpoint)
    assert resumed.start == {"a_f1": 46.0, "b_f1": 46.0} and resumed.history[-1]["step"] == 8


class Meddler(Probe):
    """Probe that reads the modes, draws random numbers, and may fail."""

    fails = False

    def measure(self, policy: Policy) -> Measurement:
        assert not any(module.training for module in policy.modules()) and not torch.is_grad_enabled()
        torch.rand(3)
        if self.fails:
            raise RuntimeError("on purpose")
        return Measurement({})


@pytest.mark.parametrize("fails", [False, True])
def test_modes_and_random_state_are_restored(base: str, fails: bool) -> None:
    module = torch.nn.Module()
    module.policy = load_policy(base, "fp32", LoraSettings(4, 8, 0.5), None, CPU)
    dropout = next(m for m in module.policy.modules() if isinstance(m, torch.nn.Dropout))
    dropout.eval()  # a mixture of modes, which must be restored
    before = [m.training for m in module.policy.modules()]
    random_state = torch.get_rng_state()
    probe = Meddler()
    probe.fails = fails
    try:
        probe.run(module)
    except RuntimeError:
        assert fails
    assert [m.training for m in module.policy.modules()] == before and True in before and False in before
    assert torch.equal(torch.get_rng_state(), random_state) and torch.is_grad_enabled()


class Plain(Probe):
    """Probe that returns its scores without a Measurement."""

    def measure(self, policy: Policy) -> Measurement:
        return {"zero": MetricResult(0.0, None, "")}  # type: ignore[return-value]


def test_another_return_value_is_refused(base: str) -> None:
    module = torch.nn.Module()
    module.policy = load_policy(base, "fp32", LoraSettings(4, 8, 0.5), None, CPU)
    with pytest.raises(
        ValueError, match=r"Plain.measure returned dict; return semalign_pl.types.Measurement\(scores\)"
    ):
        Plain().run(module)


@pytest.mark.parametrize(
    "items", [[], [Item("quiz", "1", {"quiz": [1.0]}), Item("quiz", "2", {})], [Item("other", "1", {"quiz": [1.0]})]]
)
def test_a_score_names_only_items_that_have_its_statistics(items: list[Item]) -> None:
    with pytest.raises(ValueError, match=r"quiz: its value is computed from the items of 'quiz', .* needs statistics"):
        Measurement({"quiz": MetricResult(1.0, None, "", items="quiz", formula="mean")}, items)
