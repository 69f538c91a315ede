"""The protocol: the commands that it makes, the joining of results, and all of it on a tiny base."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from helpers.frontier_study import write_json

from semalign_pl.__main__ import main
from semalign_pl.run.digests import Digests
from semalign_pl.study.command import run_study
from semalign_pl.study.frontier_settings import FrontierSettings
from semalign_pl.study.grounds import parse
from semalign_pl.study.joined import join
from semalign_pl.study.protocol import steps
from semalign_pl.study.record import read_peak_memory, record_file, write
from semalign_pl.study.run_step import Outcome
from semalign_pl.study.study_file import PAPER, read_study
from semalign_pl.study.systems import Study, System


@pytest.fixture
def configs(base, encoder, corpus, tmp_path):
    """Three configs of one step each."""
    folder = tmp_path / "configs"
    folder.mkdir()
    evaluation = {"class_path": "Evaluation", "init_args": {"language": "bo", "encoder": encoder}}
    drift = {"class_path": "DriftProbe", "init_args": {"file": str(corpus / "text.txt")}}
    reading = {"class_path": "ReadingComprehensionProbe", "init_args": {"file": str(corpus / "reading.json")}}
    rewards = [
        {"class_path": "SemanticReward", "init_args": {"encoder": encoder}},
        {"class_path": "LanguageReward", "init_args": {"language": "bo"}},
    ]
    for name in PAPER:
        grpo = name == "semantic_grpo"
        model = {"base": base, "weights": "fp32", "max_new_tokens": 48}
        model |= {"num_generations": 2} if grpo else {}
        model |= {"lora": {"r": 4, "alpha": 8}} if name == "cold_start" else {"adapter": "set by the study"}
        config = {
            "trainer": {
                "accelerator": "cpu",
                "max_steps": 1,
                "enable_progress_bar": False,
                "callbacks": [*(rewards if grpo else []), evaluation, drift, reading],
            },
            "model": {"class_path": "GRPOModule" if grpo else "SFTModule", "init_args": model},
            "data": {
                "class_path": "CorpusDataModule",
                "init_args": {
                    "train": str(corpus / "train.jsonl"),
                    "test": str(corpus / "dev.jsonl"),
                    "batch_size": 4,
                    "eval_limit": 4,
                },
            },
        }
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return folder


def test_steps_are_the_papers_protocol(configs, tmp_path):
    plan = list(steps(read_study(configs), tmp_path / "out", 2))
    assert [step.name for step in plan if step.seed == 0] == [
        "test base",
        "fit cold_start",
        "test cold_start",
        "fit strong_sft",
        "test strong_sft",
        "fit semantic_grpo",
        "test semantic_grpo",
    ]
    assert [step.name for step in plan if step.seed == 1] == [step.name for step in plan if step.seed == 0][1:]
    assert plan[0].args[-2:] == plan[1].args[-2:] == ("--model.init_args.adapter", "null")
    adapter = {step.name: step.args[-1] for step in plan if step.seed == 1}
    cold = str(tmp_path / "out" / "seed-1" / "cold_start" / "adapter")
    assert adapter["fit strong_sft"] == adapter["fit semantic_grpo"] == adapter["test cold_start"] == cold
    assert adapter["test strong_sft"].endswith("seed-1/strong_sft/adapter")


def test_a_scale_of_a_recipe_is_that_of_the_start_and_not_of_what_is_tested(configs, tmp_path):
    config = yaml.safe_load((configs / "strong_sft.yaml").read_text(encoding="utf-8"))
    config["model"]["init_args"] |= {"adapter_scale": 0.5, "scale_from": "start"}
    (configs / "strong_sft.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    swept = ("--model.init_args.adapter_scale", "0.25")
    systems = [
        System("strong_sft", configs / "strong_sft.yaml", "base"),
        System("swept", configs / "semantic_grpo.yaml", "strong_sft", flags=swept),
        System("cold_start", configs / "cold_start.yaml", "base"),
    ]
    plan = {step.name: step.args for step in steps(Study(systems), tmp_path / "out", 1)}
    scales = {name: parse(args)["model"]["init_args"] for name, args in plan.items()}
    assert {name: (given["adapter_scale"], given["scale_from"]) for name, given in scales.items()} == {
        "test base": (1.0, "base"),
        "fit strong_sft": (0.5, "start"),
        "test strong_sft": (1.0, "base"),
        "fit swept": (0.25, "base"),
        "test swept": (1.0, "base"),
        "fit cold_start": (1.0, "base"),
        "test cold_start": (1.0, "base"),
    }
    assert "--model.init_args.adapter_scale" not in plan["test cold_start"], "a module may have no such setting"


def test_an_adapter_of_corda_is_tested_without_its_start(configs, tmp_path):
    """The settings of a new CorDA adapter contradict the saved one, which is plain LoRA of twice the rank."""
    given = ("--model.init_args.lora.variant", "corda", "--model.init_args.lora.file", "general.txt")
    systems = [System("cold_start", configs / "cold_start.yaml", "base", flags=given)]
    plan = {step.name: step.args for step in steps(Study(systems), tmp_path / "out", 1)}
    lora = {name: parse(args)["model"]["init_args"]["lora"] for name, args in plan.items()}
    assert lora["fit cold_start"]["variant"] == "corda" and lora["test cold_start"] is None
    assert lora["test base"]["variant"] == "lora", "the settings of the recipe, in which nothing is to be undone"


def test_missing_config_is_one_line(tmp_path, capsys):
    assert main(["study", "--config", str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and "cold_start.yaml" in error


def test_join_averages_seeds():
    def run(value):
        metric = {"value": value, "ci": [value - 1, value + 1], "signature": "s"}
        return {"end": {"metrics": {"bleu4": metric}, "run": {}}}

    cold = System("cold_start", Path("cold_start.yaml"), "base", "Warm-up")
    joined = join([cold], {(0, "base"): run(1.0), (0, "cold_start"): run(2.0), (1, "cold_start"): run(4.0)}, {})
    assert list(joined) == ["base", "cold_start"]
    assert joined["base"]["from"] is None and "label" not in joined["base"]
    assert (joined["cold_start"]["from"], joined["cold_start"]["label"]) == ("base", "Warm-up")
    assert joined["base"]["metrics"]["bleu4"] == {"value": 1.0, "ci": [0.0, 2.0], "signature": "s", "seeds": [1.0]}
    assert joined["cold_start"]["metrics"]["bleu4"]["value"] == 3.0
    assert joined["cold_start"]["metrics"]["bleu4"]["ci"] == [2.0, 4.0]
    assert joined["cold_start"]["metrics"]["bleu4"]["seeds"] == [2.0, 4.0]


def test_join_keeps_the_references_and_leaves_out_what_a_seed_has_not():
    def run(**values):
        metrics = {name: {"value": value, "ci": None, "signature": "s"} for name, value in values.items()}
        return {"end": {"metrics": metrics, "run": {}}}

    cold = System("cold_start", Path("cold_start.yaml"), "base")
    new, old = run(language_consistency=0.5, language_consistency_references=0.58), run(language_consistency=0.7)
    results = {(0, "base"): new, (0, "cold_start"): new, (1, "cold_start"): old}
    joined = join([cold], results, {})
    assert joined["base"]["metrics"]["language_consistency_references"]["value"] == 0.58
    assert list(joined["cold_start"]["metrics"]) == ["language_consistency"]


def test_the_peak_memory_is_that_of_all_steps_and_not_of_the_last_process(configs, tmp_path, monkeypatch):
    """A rerun of a finished study only reads results; records of earlier versions have no peak."""
    out, run = tmp_path / "out", {"metrics": {}, "run": {"versions": {}}}
    study = read_study(configs)
    plan = list(steps(study, out, 1))
    for step, peak in zip(plan, ({}, {"peak_memory_mib": 1e6}, {"peak_memory_mib": 7.0}), strict=False):
        step.folder.mkdir(parents=True, exist_ok=True)
        write_json(record_file(step), {"grounds": {}, "wrote": {}, "seconds": 1.0, **peak})
    monkeypatch.setattr(
        "semalign_pl.study.run_step.run_step",
        lambda step, _: Outcome(1.0, {"end": run} if step.command == "test" else None),
    )
    run_study(configs, out, 1)
    assert json.loads((out / "results.json").read_text(encoding="utf-8"))["run"]["peak_memory_mib"] == 1e6
    write(plan[3], {}, 1.0, Digests(out / "digests.json"))
    assert 1 < read_peak_memory(plan[3]) < 1e6 and read_peak_memory(plan[0]) == 0
    (frontier,) = [
        step
        for step in steps(replace(study, frontier=FrontierSettings()), out, 1)
        if step.name == "frontier cold_start"
    ]
    for place, peak in (("", 5.0), ("points/scale-0.5", 9.0)):
        (frontier.folder / place).mkdir(parents=True, exist_ok=True)
        write_json(frontier.folder / place / "point.done.json", {"peak_memory_mib": peak})
    assert read_peak_memory(frontier) == 9.0


@pytest.mark.slow
def test_a_whole_study(configs, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["study", "--config", str(configs), "--out", str(out), "--seeds", "2"]) == 0
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert list(results["systems"]) == ["base", *PAPER]
    for system, body in results["systems"].items():
        metrics = body["metrics"]
        assert {
            *("bleu4", "chrf", "rouge_l", "semantic_similarity", "language_consistency"),
            *("cmrc_em", "cmrc_f1", "cmrc_avg", "nll_change_mean", "nll_change_p90", "kl_mean"),
        } <= set(metrics), system
        assert all(set(metric) == {"value", "ci", "signature", "seeds"} for metric in metrics.values())
    assert results["systems"]["base"]["metrics"]["kl_mean"]["value"] == 0.0
    assert results["systems"]["cold_start"]["metrics"]["kl_mean"]["value"] > 0.0
    assert results["run"]["seeds"] == [0, 1] and "fit semantic_grpo" in results["run"]["seconds"]
    assert (out / "report.html").is_file() and (out / "quality_against_tax.png").is_file()

    capsys.readouterr()
    run_study(configs, out, 2)
    said = capsys.readouterr().out
    assert said.count("done before") == 13, f"finished steps are not run again:\n{said}"
    config = configs / "semantic_grpo.yaml"
    config.write_text(config.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    run_study(configs, out, 1)
    assert capsys.readouterr().out.count("done before") == 7, "a comment changes no result"
    config.write_text(config.read_text(encoding="utf-8") + "\nseed_everything: 7\n", encoding="utf-8")
    run_study(configs, out, 1)
    assert capsys.readouterr().out.count("done before") == 7, "nor does a setting that the study's own flag overrides"
    config.write_text(config.read_text(encoding="utf-8").replace("max_new_tokens: 48", "max_new_tokens: 47"))
    run_study(configs, out, 1)
    said = capsys.readouterr().out
    assert said.count("done before") == 5, "a changed config is run again"
    assert said.count("  model.init_args.max_new_tokens is 47 and was 48") == 1, "said where it is trained"
    folder = out / "seed-0" / "semantic_grpo"
    assert said.count(f"  {folder} holds an earlier run; it was moved to {folder}.earlier-1") == 1, "with its test"
    config = configs / "cold_start.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("r: 4", "r: 2"), encoding="utf-8")
    run_study(configs, out, 1)
    assert "done before" not in capsys.readouterr().out, "so is what starts from a changed adapter"


@pytest.mark.slow
def test_any_systems_and_what_they_start_from(configs, tmp_path, capsys):
    """GRPO from the base model, whatever adapter its config names; then SFT, with its config in another folder."""
    folder, out = tmp_path / "study", tmp_path / "out"
    folder.mkdir()
    (configs / "semantic_grpo.yaml").rename(folder / "first.yaml")
    listed = {
        "first": {"from": "base", "label": "RL at once"},
        "second": {"from": "first", "config": "../configs/strong_sft.yaml"},
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(listed, sort_keys=False), encoding="utf-8")
    assert main(["study", "--config", str(folder), "--out", str(out)]) == 0
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    assert list(results["systems"]) == ["base", "first", "second"]
    assert results["systems"]["base"]["metrics"]["kl_mean"]["value"] == 0.0
    assert "RL at once" in capsys.readouterr().out
    handed = [yaml.safe_load((out / f"seed-0/{name}/fit.yaml").read_text()) for name in ("first", "second")]
    assert [fit["model"]["init_args"]["adapter"] for fit in handed] == [None, str(out / "seed-0/first/adapter")]


def test_a_signal_in_a_step_ends_the_study(configs, tmp_path):
    """With its status, and without the later steps."""
    path = configs / "cold_start.yaml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    strike = {"step": 1, "signal_name": "SIGTERM", "hook": "on_before_optimizer_step"}
    config["trainer"] |= {"max_steps": 2}
    config["trainer"]["callbacks"] += [{"class_path": "helpers.run_callbacks.Strike", "init_args": strike}]
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    with pytest.raises(SystemExit) as stopped:
        main(["study", "--config", str(configs), "--out", str(tmp_path / "out")])
    assert stopped.value.code == 143
    folder = tmp_path / "out" / "seed-0"
    assert (folder / "cold_start" / "checkpoints" / "interrupted.ckpt").exists()
    assert sorted(path.name for path in folder.iterdir()) == ["base", "cold_start"]
    assert not list((folder / "cold_start").glob("*.done.json"))
