"""Files that a test writes, and metrics that a validation logs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from helpers.small_runs import Runs

from semalign_pl.functional import formulas
from semalign_pl.languages import get_language
from semalign_pl.metrics import Bleu4, ChrF, LanguageConsistency, ReferenceConsistency, RougeL, SemanticSimilarity

NAMES = {
    *("bleu4", "chrf", "rouge_l", "semantic_similarity"),
    *("language_consistency", "language_consistency_references"),
}


def evaluation(runs: Runs) -> dict:
    return {"class_path": "semalign_pl.callbacks.Evaluation", "init_args": {"encoder": runs.encoder}}


def test_results_and_predictions(runs: Runs) -> None:
    drift = {"class_path": "DriftProbe", "init_args": {"file": str(runs.corpus / "text.txt")}}
    # Train a little, so that there is something to score, and predictions differ.
    fitted = ["trainer.max_steps=12", "data.init_args.batch_size=12"]
    runs("fit", "sft", "run", *fitted, callbacks=[runs.checkpoints("run", 12)])
    runs("test", "sft", "run", f"ckpt_path={runs.folder / 'run' / 'step=12.ckpt'}", callbacks=[evaluation(runs), drift])
    rows, results = runs.predictions(), runs.results()
    dev = [json.loads(line) for line in (runs.corpus / "dev.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["id"] for row in rows] == [f"dev.jsonl:{i + 1}" for i in range(len(dev))]
    assert [row["reference"] for row in rows] == [row["bo"] for row in dev]
    assert all(dev[i]["zh"] in row["prompt"] and set(row["scores"]) == NAMES for i, row in enumerate(rows))
    assert any(row["prediction"] for row in rows)

    assert set(results["metrics"]) == NAMES | {"nll_change_mean", "nll_change_p90", "kl_mean", "kl_p90"}
    for score in results["metrics"].values():
        assert set(score) == {"value", "ci", "signature", "items", "formula"} and score["signature"]
        assert isinstance(score["value"], float)
    predictions, references = ([row[key] for row in rows] for key in ("prediction", "reference"))
    profile = get_language("bo")
    metrics = {
        "bleu4": Bleu4(profile),
        "chrf": ChrF(profile),
        "rouge_l": RougeL(profile),
        "language_consistency": LanguageConsistency(profile),
        "language_consistency_references": ReferenceConsistency(profile),
        "semantic_similarity": SemanticSimilarity(runs.encoder),
    }
    for name, metric in metrics.items():
        metric.update(predictions, references)
        assert results["metrics"][name]["value"] == pytest.approx(float(metric.compute()), rel=1e-5, abs=1e-9)
        assert results["metrics"][name]["signature"].startswith(metric.signature)
        own = metric.per_row(predictions, references)
        assert [row["scores"][name] for row in rows] == pytest.approx(own, rel=1e-5, abs=1e-6)
        low, high = results["metrics"][name]["ci"]
        assert low <= results["metrics"][name]["value"] + 1e-9 and results["metrics"][name]["value"] <= high + 1e-9
    assert results["metrics"]["chrf"]["value"] > 0
    assert results["run"]["rows"] == len(rows) and results["run"]["decode"] == "greedy|max_new:40"
    assert results["run"]["versions"]["semalign-pl"] == "0.1.0" and results["run"]["seed"] == 3
    assert_computed_from_items(results, runs.items())
    assert {name: score["items"] for name, score in results["metrics"].items()} == {
        **dict.fromkeys(NAMES, "test"),
        **{"nll_change_mean": "drift", "kl_mean": "drift", "nll_change_p90": None, "kl_p90": None},
    }
    of_test, of_drift = ([row for row in runs.items() if row["set"] == of] for of in ("test", "drift"))
    assert [(row["id"], row["text"]) for row in of_test] == [(row["id"], row["prediction"]) for row in rows]
    assert [row["id"] for row in of_drift] == [f"text.txt:{line}" for line in range(1, 7)]
    assert {(row["system"], row["point"]) for row in runs.items()} == {("run", "end")} and results["point"] == "end"
    tokens = sum(row["statistics"]["kl_mean"][1] for row in of_drift)
    assert {name: sum(histogram["counts"]) for name, histogram in results["histograms"].items()} == {
        "nll_change": tokens,
        "kl": tokens,
    }


def assert_computed_from_items(results: dict, items: list[dict]) -> None:
    """Every score that names its items is computed from their statistics, to the last digit."""
    named = {name: result for name, result in results["metrics"].items() if result["items"] is not None}
    assert named
    for name, result in named.items():
        statistics = [item["statistics"][name] for item in items if item["set"] == result["items"]]
        again = formulas.score(result["formula"], np.array(statistics), "", n_bootstrap=1000, seed=12345)
        assert (again.value, again.ci) == (result["value"], tuple(result["ci"])), name


def test_own_metric_own_probe_and_equal_ids(runs: Runs) -> None:
    """A user's metric without a formula is scored, without items; items of equal ids are told apart."""
    twice = [f"data.init_args.test=[{runs.corpus / 'dev.jsonl'},{runs.corpus / 'dev.jsonl'}]"]
    own = [{"class_path": f"helpers.run_callbacks.{name}"} for name in ("OwnEvaluation", "Quiz")]
    runs("test", "sft", "run", *twice, "model.init_args.max_new_tokens=4", callbacks=own)
    results, items = runs.results(), runs.items()
    assert_computed_from_items(results, items)
    rows = runs.predictions()
    length = results["metrics"]["length"]
    assert (length["items"], length["formula"]) == (None, None) and length["signature"] == "length|bs:1000|seed:12345"
    assert length["value"] == sum(len(row["prediction"]) for row in rows) / sum(len(row["reference"]) for row in rows)
    of_test = [item for item in items if item["set"] == "test"]
    assert all("length" not in item["statistics"] and "chrf" in item["statistics"] for item in of_test)
    assert [item["id"] for item in of_test] == [row["id"] for row in rows]
    assert [row["id"] for row in rows] == [f"dev.jsonl:{i}{again}" for again in ("", "#2") for i in range(1, 9)]
    quiz = [(item["id"], item["statistics"], item["text"]) for item in items if item["set"] == "quiz"]
    assert quiz == [("1", {"quiz": [1.0]}, "甲"), ("1#2", {"quiz": [0.0]}, "乙"), ("2", {"quiz": [1.0]}, None)]
    assert results["metrics"]["quiz"]["value"] == 2 / 3


@pytest.mark.parametrize(
    ("name", "message"), [("chrf", "Quiz measures the score 'chrf'"), ("test", "Quiz measures the set of items 'test'")]
)
def test_scores_of_one_name_are_refused(runs: Runs, name: str, message: str) -> None:
    quiz = {"class_path": "helpers.run_callbacks.Quiz", "init_args": {"name": name}}
    with pytest.raises(ValueError, match=f"{message}, and so does another callback"):
        runs("test", "sft", "run", callbacks=[quiz, {"class_path": "Evaluation"}])
    assert not (runs.folder / "run" / "items.jsonl").exists()


def test_validation_is_logged(runs: Runs) -> None:
    validated = [f"data.init_args.validation={runs.corpus / 'dev.jsonl'}", "trainer.val_check_interval=2"]
    runs("fit", "sft", "run", "trainer.max_steps=4", *validated, callbacks=[evaluation(runs)])
    logged = [row for row in runs.metrics() if row["val/bleu4"]]
    assert len(logged) == 2 and all(row[f"val/{name}"] for row in logged for name in NAMES)
    assert not (runs.folder / "run" / "results.json").exists()


def test_validation_on_raw_text_or_another_language_has_no_plain_score(
    runs: Runs, caplog: pytest.LogCaptureFixture
) -> None:
    """The recipes of continued pretraining have Evaluation for their test, and may validate on raw text."""
    raw = {"path": str(runs.corpus / "text.txt"), "task": {"class_path": "RawText"}}
    back = {"class_path": "Translation", "init_args": {"source": "bo", "target": "zh"}}
    for name, corpora in (("raw", [raw]), ("mix", [raw, {"path": str(runs.corpus / "dev.jsonl"), "task": back}])):
        given = [
            f"data.init_args.validation={json.dumps(corpora)}",
            "trainer.max_steps=1",
            "trainer.val_check_interval=1",
        ]
        runs("fit", "sft", name, *given, callbacks=[evaluation(runs)])
        (row,) = [row for row in runs.metrics(name) if row["val/loss"]]
        assert float(row["val/bits_per_byte"]) > 0 and not {f"val/{score}" for score in NAMES} & row.keys()
        scored = {key.removeprefix("val/dev_") for key in row if key.startswith("val/dev_")}
        assert scored == (NAMES if name == "mix" else set())
    told = [record.message for record in caplog.records if "whose task names no language" in record.message]
    assert told == [
        "Evaluation.language: bo is for rows whose task names no language; of those that do, dev is scored in zh"
    ]


def test_predict_writes_unscored_rows(runs: Runs) -> None:
    runs("predict", "sft", "run", callbacks=[evaluation(runs)])
    rows = runs.predictions()
    assert len(rows) == 8 and all(row["scores"] == {} for row in rows)
    assert not (runs.folder / "run" / "results.json").exists()


def reversed_task(**test: str) -> list[str]:
    """Flags for a test in the other direction."""
    task = {"class_path": "Translation", "init_args": {"source": "bo", "target": "zh"}}
    return [f"data.init_args.{key}={json.dumps(value)}" for key, value in {"task": task, **test}.items()]


def test_a_language_in_another_script_than_the_only_task_is_refused(runs: Runs) -> None:
    """A single corpus without a name is scored by Evaluation.language, and Chinese by Tibetan syllables has BLEU 0."""
    dev = runs.corpus / "dev.jsonl"
    with pytest.raises(ValueError, match=r"^Evaluation.language: bo, but the task answers in zh; set language: zh"):
        runs("test", "sft", "run", *reversed_task(), callbacks=[{"class_path": "Evaluation"}])
    validated = f"data.init_args.validation={dev}"
    with pytest.raises(ValueError, match=r"^Evaluation.language: bo, but the task answers in zh"):
        runs("fit", "sft", "run", *reversed_task(), validated, callbacks=[{"class_path": "Evaluation"}])
    named = reversed_task(test={"path": str(dev), "name": "dev"})
    runs("test", "sft", "named", *named, callbacks=[{"class_path": "Evaluation"}])
    assert "lang:zh" in runs.results("named")["metrics"]["zh_chrf"]["signature"]


@pytest.mark.parametrize("language", ["zh", "zh-Hant", "own.yaml"])
def test_another_language_of_the_same_script_may_score(runs: Runs, tmp_path: Path, language: str) -> None:
    """Such as a .yaml file of one's own, with a model that identifies the language."""
    if language == "own.yaml":
        language = str(tmp_path / language)
        own = "code: own\nname: Own\nnative: 我\nscripts: [Han]\nunit: character\npattern: \\S\n"
        Path(language).write_text(own, encoding="utf-8")
    measured = {"class_path": "Evaluation", "init_args": {"language": language}}
    runs("test", "sft", "run", *reversed_task(), "model.init_args.max_new_tokens=4", callbacks=[measured])
    assert "chrf" in runs.results()["metrics"]
