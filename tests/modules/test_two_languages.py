"""A mix of three tasks in two languages on the miniature world: rewards and scores per task, no mixed columns."""

from __future__ import annotations

import csv
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from semalign_pl.callbacks.watch_metrics import WatchMetrics
from semalign_pl.functional import formulas
from semalign_pl.metrics import Bleu4, ChrF, LanguageConsistency, RougeL
from semalign_pl.rewards import LanguageReward, OverlapReward, RepetitionReward, Reward
from semalign_pl.toy import generator
from semalign_pl.toy.speech import speech
from semalign_pl.toy.write import WEIGHTS
from semalign_pl.types import Example, Rollouts

ROWS = 3
TASKS: dict[str, tuple[str, dict[str, Any]]] = {
    "tibetan": ("bo", {"class_path": "Translation", "init_args": {"target": "bo"}}),
    "thai": ("th", {"class_path": "Translation", "init_args": {"target": "th"}}),
    "news": ("bo", {"class_path": "Headline", "init_args": {"language": "bo"}}),
}
METRICS = {"bleu4": Bleu4, "chrf": ChrF, "rouge_l": RougeL, "language_consistency": LanguageConsistency}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a few rows per corpus of the miniature world: ``<task>-<split>.jsonl``."""
    folder = tmp_path_factory.mktemp("two")
    for name, (code, _) in TASKS.items():
        make = generator.headlines if name == "news" else generator.pairs
        for split, size in (("train", 48), ("test", ROWS)):
            rows = make(0, split, size, speech(code))
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            (folder / f"{name}-{split}.jsonl").write_text(text, encoding="utf-8")
    return folder


def recipe(world: Path, stage: str, names: list[str], callbacks: list[dict[str, Any]], **settings: Any) -> Path:
    """Recipe of a mix."""

    def mix(split: str) -> list[dict[str, Any]]:
        return [{"path": str(world / f"{n}-{split}.jsonl"), "name": n, "task": TASKS[n][1]} for n in names]

    model = {
        "base": str(WEIGHTS / "base"),
        "weights": "fp32",
        "max_prompt_tokens": 256,
        "max_new_tokens": 180,  # the base has few Thai tokens
        "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 3e-3}},
        **settings,
    }
    file = world / f"{stage}-{'-'.join(names)}.yaml"
    data = {"train": mix("train"), "validation": mix("test"), "test": mix("test"), "batch_size": 12}
    trainer = {"accelerator": "cpu", "enable_progress_bar": False, "callbacks": callbacks}
    whole = {
        "seed_everything": 0,
        "model": {"class_path": stage, "init_args": model},
        "data": {"class_path": "CorpusDataModule", "init_args": data},
        "trainer": trainer,
    }
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    return file


def read_rows(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.fixture(scope="module")
def trained(world: Path) -> Path:
    """Run of SFT on the three tasks, validated and tested."""
    from semalign_pl.cli import main

    evaluation = {"class_path": "Evaluation", "init_args": {"language": "bo"}}
    file = recipe(world, "SFTModule", [*TASKS], [evaluation])
    run = world / "sft"
    flags = [f"--trainer.default_root_dir={run}", "--trainer.max_steps=2", "--trainer.val_check_interval=2"]
    main(["fit", "--config", str(file), *flags])
    main(["test", "--config", str(file), *flags, f"--model.init_args.adapter={run / 'adapter'}"])
    return run


def test_each_task_has_its_own_scores(trained: Path) -> None:
    results = json.loads((trained / "results.json").read_text(encoding="utf-8"))["metrics"]
    rows, items = read_rows(trained / "predictions.jsonl"), read_rows(trained / "items.jsonl")
    names = {*METRICS, "language_consistency_references"}
    assert results.keys() == {f"{task}_{name}" for task in TASKS for name in names}
    assert [{name.partition("_")[0] for name in row["scores"]} for row in rows] == [
        {task} for task in TASKS for _ in range(ROWS)
    ]
    for place, (task, (code, _)) in enumerate(TASKS.items()):
        own = rows[place * ROWS : (place + 1) * ROWS]
        texts = [[row[key] for row in own] for key in ("prediction", "reference")]
        for name, metric in METRICS.items():
            scorer = metric(code)
            scorer.update(*texts)
            found = results[f"{task}_{name}"]
            assert found["value"] == pytest.approx(float(scorer.compute()), abs=1e-12)
            assert f"lang:{code}" in found["signature"] and f"|task:{task}|" in found["signature"]
            assert found["items"] == f"test/{task}"
            of_set = [item["statistics"][f"{task}_{name}"] for item in items if item["set"] == f"test/{task}"]
            again = formulas.score(found["formula"], np.array(of_set), "")
            assert (again.value, again.ci) == (found["value"], tuple(found["ci"]))
    assert results["news_chrf"]["value"] > 0
    # By the rule of Tibetan, no Thai reference would be consistent.
    assert all(results[f"{task}_language_consistency_references"]["value"] == 1 for task in TASKS)


def test_validation_logs_the_scores_of_each_task(trained: Path) -> None:
    """The validation after the last step is on the rows and the weights of the test."""
    results = json.loads((trained / "results.json").read_text(encoding="utf-8"))["metrics"]
    with (trained / "metrics.csv").open(encoding="utf-8") as file:
        (row,) = [row for row in csv.DictReader(file) if row["val/news_chrf"]]
    for name, result in results.items():
        assert float(row[f"val/{name}"]) == pytest.approx(result["value"], rel=1e-5)
    assert float(row["val/chrf"]) > 0, "of all Tibetan rows, for a monitor"


@pytest.mark.parametrize(
    "reward", [LanguageReward("bo"), OverlapReward("chrf", "bo"), OverlapReward("rouge_l"), RepetitionReward("bo", n=2)]
)
def test_a_reward_scores_each_row_in_the_language_of_its_task(reward: Reward) -> None:
    """The scores of a mix are those of one reward per language, whatever the order of rows."""
    texts = ["བོད་ཡིག་བོད་ཡིག་བོད་ཡིག་", "ภาษาไทยภาษาไทยภาษาไทย", "中文中文中文", "བོད་ཡིག", "ภาษา"]
    codes = ["bo", "th", "zh", "", "th"]
    examples = [
        Example(f"x:{n}", "?", f"{text}{text[:3]}", language=code, corpus=code or "plain")
        for n, (text, code) in enumerate(zip(texts, codes, strict=True))
    ]
    options = {
        LanguageReward: lambda code: LanguageReward(code),
        OverlapReward: lambda code: OverlapReward(reward.name, code),  # type: ignore[arg-type]
        RepetitionReward: lambda code: RepetitionReward(code, n=2),
    }[type(reward)]
    rows = zip(examples, texts, codes, strict=True)
    expected = [options(code or "bo")([replace_language(e)], [text]).item() for e, text, code in rows]
    plain = options("bo")([replace_language(e) for e in examples], texts).tolist()
    assert reward(examples, texts).tolist() == expected != plain


def test_watched_metrics_use_the_language_of_the_task() -> None:
    texts, codes = ["ภาษาไทยดี", "བོད་ཡིག་ཡག་པོ", "ภาษา", "ཡིག"], ["th", "bo"]
    examples = [Example(code, "?", reference, language=code) for code, reference in zip(codes, texts[:2], strict=True)]
    order, nothing = [texts[0], texts[2], texts[1], texts[3]], torch.zeros(4, 0)

    def measure(language: str, rows: list[Example], completions: list[str]) -> dict[str, Any]:
        ids = nothing[: len(completions)]
        rollouts = Rollouts([[]] * len(rows), ids.long(), ids.bool(), ids[:, :0].any(1), completions, 2)
        return WatchMetrics(language)(rows, rollouts, 10.0)

    mixed = measure("bo", examples, order)
    for n, code in enumerate(codes):
        own = measure(code, [replace_language(examples[n])], order[2 * n : 2 * n + 2])
        for name in ("chrf", "script", "repetition", "length_ratio"):
            assert mixed[name][1][2 * n : 2 * n + 2].tolist() == own[name][1].tolist()
    assert mixed["script"][1].tolist() == [1.0] * 4


def replace_language(example: Example) -> Example:
    """The row without the language of its task, as in a corpus that is no mix."""
    return Example(example.id, example.prompt, example.reference)


def test_grpo_trains_a_mix_and_says_which_language_is_for_which_rows(
    world: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from semalign_pl.cli import main

    callbacks = [{"class_path": "LanguageReward"}, {"class_path": "OverlapReward"}, {"class_path": "RewardWatch"}]
    file = recipe(world, "GRPOModule", ["tibetan", "thai"], callbacks, num_generations=2, max_new_tokens=16)
    run = world / "grpo"
    flags = [f"--trainer.default_root_dir={run}", "--trainer.max_steps=1", "--data.init_args.batch_size=4"]
    with caplog.at_level(logging.WARNING):
        main(["fit", "--config", str(file), *flags, "--data.init_args.validation=null"])
    told = [record.getMessage() for record in caplog.records if "whose task names no language" in record.getMessage()]
    assert told == [
        f"{name}.language: bo is for rows whose task names no language; scored by their task's are thai in th"
        for name in ("LanguageReward", "OverlapReward", "RewardWatch")
    ]


@pytest.mark.parametrize("name", ["LanguageReward", "OverlapReward", "RepetitionReward", "RewardWatch"])
def test_a_language_in_another_script_than_the_only_task_is_refused(world: Path, name: str) -> None:
    """A single corpus without a name is scored by the setting, and Thai has no Tibetan syllables."""
    from semalign_pl.cli import main

    callbacks = [{"class_path": one} for one in (name, "LengthReward")]
    file = recipe(world, "GRPOModule", ["thai"], callbacks, num_generations=2, max_new_tokens=4)
    whole = yaml.safe_load(file.read_text(encoding="utf-8"))
    del whole["data"]["init_args"]["train"][0]["name"], whole["data"]["init_args"]["validation"]
    file.write_text(yaml.safe_dump(whole), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"^{name}.language: bo, but the task answers in th; set language: th"):
        main(["fit", "--config", str(file), f"--trainer.default_root_dir={world / name}", "--trainer.max_steps=1"])
