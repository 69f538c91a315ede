"""Tasks of lm-evaluation-harness through the package's engine: same numbers as through the harness's own backend."""

from __future__ import annotations

import json
import os
import random
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.pairs import PAIRS
from helpers.tiny import CPU, fit, trained

from semalign_pl.functional.cost import less_is_better, names_direction
from semalign_pl.modules import SFTModule
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.probes import LMEvalProbe
from semalign_pl.probes.lm_eval_scores import _score_name
from semalign_pl.types import Example

pytest.importorskip("lm_eval")

CLOSE = 1e-5
"""Relative tolerance of perplexities: both sides compute float32 log-probs, in batches of another shape. A word
perplexity is the exponential of a sum over a word's 68 nats, which multiplies the error."""

CHOICES = """
task: local_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/choice.jsonl}}
test_split: test
fewshot_split: test
num_fewshot: 2
output_type: multiple_choice
doc_to_text: "中文：{{question}}\\n答："
doc_to_choice: "{{options}}"
doc_to_target: gold
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
EXACT = """
task: local_exact
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/exact.jsonl}}
test_split: test
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["学生", "<|im_end|>"], max_gen_toks: 40, do_sample: false}
metric_list:
  - {metric: exact_match, aggregation: mean, higher_is_better: true}
metadata: {version: 1.0}
"""
ROLLING = """
task: local_rolling
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/rolling.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: byte_perplexity, aggregation: weighted_perplexity, higher_is_better: false}
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
metadata: {version: 1.0}
"""
TASKS = {"local_choice": CHOICES, "local_exact": EXACT, "local_rolling": ROLLING}


def write_rows(path: Path, rows: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture(scope="module")
def policy(base: str, sft_adapter: str) -> Policy:
    return load_policy(base, "fp32", LoraSettings(4, 8, 0.0), sft_adapter, CPU)


@pytest.fixture(scope="module")
def backend(base: str, sft_adapter: str) -> object:
    """The harness's own backend on the same base and adapter."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(pretrained=base, peft=sft_adapter, device="cpu", dtype="float32", batch_size=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, backend: object) -> Iterator[str]:
    """Task files with their data; of the exact matches, every second answer is the one that the backend gives."""
    import datasets
    from lm_eval.api.instance import Instance

    folder = tmp_path_factory.mktemp("tasks")
    texts = [(pair["zh"], pair["bo"]) for pair in PAIRS]
    rows = [
        {"question": zh, "options": [bo, texts[i - 1][1], texts[i - 2][1][:5]], "gold": i % 3}
        for i, (zh, bo) in enumerate(texts[:9])
    ]
    write_rows(folder / "choice.jsonl", rows)
    questions = [zh for zh, _ in texts[:6]]
    options = {"until": ["学生"], "max_gen_toks": 40, "do_sample": False}
    requests = [Instance("generate_until", {}, (text, dict(options)), i) for i, text in enumerate(questions)]
    answers = backend.generate_until(requests, disable_tqdm=True)
    rows = [
        {"question": q, "answer": a if i % 2 else "no"} for i, (q, a) in enumerate(zip(questions, answers, strict=True))
    ]
    write_rows(folder / "exact.jsonl", rows)
    write_rows(folder / "rolling.jsonl", [{"text": f"{zh} {bo} " * 3} for zh, bo in texts[:4]])
    for name, text in TASKS.items():
        (folder / f"{name}.yaml").write_text(text.replace("FOLDER", str(folder)), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder / "cache")
        yield str(folder)


def expected(
    backend: object, task: str, folder: str, max_length: int | None, **options: object
) -> tuple[dict[str, float], list[str | None]]:
    """Scores and generated texts by the harness alone, with the seeds of its own command."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=folder, include_defaults=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(backend, "_max_length", max_length)
        patch.setattr("lm_eval.evaluator.add_env_info", lambda results: None)  # runs pip
        found = simple_evaluate(backend, tasks=[task], task_manager=manager, bootstrap_iters=0, **options)
    assert found is not None
    results = found["results"][task].items()
    texts = [sample["resps"][0][0] for sample in found["samples"][task]]
    scores = {name.split(",")[0]: value for name, value in results if "," in name and "stderr" not in name}
    return scores, [text if isinstance(text, str) else None for text in texts]


@pytest.mark.parametrize(
    ("task", "max_length", "options"),
    [
        ("local_choice", None, {}),
        ("local_choice", None, {"num_fewshot": 1, "apply_chat_template": True, "fewshot_as_multiturn": True}),
        ("local_choice", 60, {"limit": 5}),
        ("local_exact", None, {}),
        ("local_exact", None, {"apply_chat_template": True, "system_instruction": "短"}),
        ("local_rolling", None, {}),
        ("local_rolling", 50, {}),
    ],
)
def test_scores_are_those_of_the_harness(
    folder: str, policy: Policy, backend: object, task: str, max_length: int | None, options: dict[str, object]
) -> None:
    """Choices, answers and their shares are equal; perplexities are equal to rounding in float32."""
    wanted, texts = expected(backend, task, folder, max_length, **options)
    probe = LMEvalProbe(task, include_path=folder, max_length=max_length, **options)
    with policy.inference():
        measurement = probe.measure(policy)
    scores = measurement.scores
    assert {name.removeprefix(f"{task}_"): score.value for name, score in scores.items()} == pytest.approx(
        wanted, rel=CLOSE if task == "local_rolling" else 1e-12
    )
    assert [item.text for item in measurement.items] == texts
    (cut,) = {part for score in scores.values() for part in score.signature.split("|") if "truncated" in part}
    assert (cut == "truncated:0") == (max_length != 60)
    without_items = {name for name, score in scores.items() if score.items is None}
    assert without_items == {name for name in scores if "perplexity" in name}
    assert all(less_is_better(name) == (task == "local_rolling") and names_direction(name) for name in scores)


def test_every_measurement_has_the_same_examples(folder: str, policy: Policy) -> None:
    probe = LMEvalProbe("local_choice", include_path=folder, limit=4)
    with policy.inference():
        first, second = (probe.measure(policy) for _ in range(2))
    assert first == second  # the signature has a digest of all prompts


@pytest.mark.parametrize(
    ("task", "metric", "higher_is_better", "name"),
    [
        ("bbh_error_detection", "exact_match", True, "bbh_error_detection_exact_match"),
        ("ocr_errors", "mcc", True, "ocr-errors-mcc"),
        ("ocr_errors", "brier_score", False, "ocr_errors_brier_score"),
        ("quiz", "brier_score", False, "quiz_brier_score_error"),
    ],
)
def test_the_name_of_a_task_does_not_turn_its_scores_round(
    task: str, metric: str, higher_is_better: bool, name: str
) -> None:
    assert _score_name(task, metric, "none", higher_is_better) == name
    assert less_is_better(name) == (not higher_is_better)


GROUP = """
group: local_group
task: [local_exact, local_choice]
aggregate_metric_list:
  - {metric: acc, weight_by_size: true, filter_list: none}
"""


@pytest.mark.parametrize("aggregates", [True, False])
def test_a_group_has_one_score_if_it_aggregates_and_else_those_of_its_tasks(
    folder: str, policy: Policy, tmp_path: Path, aggregates: bool
) -> None:
    second = CHOICES.replace("task: local_choice", "task: second_choice").replace("num_fewshot: 2", "num_fewshot: 0")
    group = GROUP.replace("local_exact", "second_choice")
    for name, text in {"a": CHOICES, "b": second, "c": group if aggregates else group.split("aggregate")[0]}.items():
        (tmp_path / f"{name}.yaml").write_text(text.replace("FOLDER", folder), encoding="utf-8")
    probe = LMEvalProbe("local_group", include_path=str(tmp_path), limit=4, name="g")
    with policy.inference():
        measurement = probe.measure(policy)
    sets = sorted({(item.set, sum(other.set == item.set for other in measurement.items)) for item in measurement.items})
    if aggregates:
        assert sets == [("g", 8)] and list(measurement.scores) == ["g_acc"] and measurement.scores["g_acc"].items == "g"
    else:
        assert sets == [("g_local_choice", 4), ("g_second_choice", 4)]
        assert "g_second_choice_acc_norm" in measurement.scores


def test_training_is_the_same_with_the_probe(folder: str, base: str, capfd: pytest.CaptureFixture[str]) -> None:
    batches = [[Example("1", "老师在学校", "དགེ་རྒན།"), Example("2", "学生看书", "སློབ་མ།")]] * 2
    ends = []
    for tasks in ([], list(TASKS)):
        torch.manual_seed(1)
        random.seed(2)
        np.random.seed(3)
        environment = dict(os.environ)
        module = SFTModule(base=base, lora=LoraSettings(4, 8, 0.5), weights="fp32")
        probes = [LMEvalProbe(task, include_path=folder, limit=2, every_n_steps=1) for task in tasks]
        capfd.readouterr()
        fit(module, batches, probes)
        assert not [line for line in capfd.readouterr().err.splitlines() if "it/s" in line and "Loading" not in line]
        assert dict(os.environ) == environment
        draws = (torch.rand(1).item(), random.random(), np.random.rand())
        ends.append(({name: weight.detach().clone() for name, weight in trained(module.policy).items()}, draws))
    (without, drawn), (with_probes, drawn_too) = ends
    assert all(torch.equal(weight, with_probes[name]) for name, weight in without.items()) and drawn == drawn_too


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ({"task": "belebele_bod_Tib"}, "LMEvalProbe.task: lm-eval has no task 'belebele_bod_Tib'; did you mean bele"),
        (
            {"task": "gsm8k"},
            r"LMEvalProbe.task: gsm8k cannot be loaded \(ConnectionError: .*needs the hub, run it once",
        ),
        ({"task": "x", "include_path": "none"}, "LMEvalProbe.include_path: there is no folder none"),
        ({"task": "x", "limit": 0}, "LMEvalProbe.limit: 0 is less than 1"),
        ({"task": "x", "enable_thinking": False}, "LMEvalProbe.enable_thinking: needs the chat template; set apply"),
    ],
)
def test_mistakes_in_one_line(options: dict[str, object], wanted: str) -> None:
    with pytest.raises(ValueError, match=wanted) as caught:
        LMEvalProbe(**options)
    assert "\n" not in str(caught.value)


def test_a_task_that_the_engine_cannot_run_is_refused(folder: str, policy: Policy, tmp_path: Path) -> None:
    text = EXACT.replace("FOLDER", folder).replace("do_sample: false", "do_sample: false, num_beams: 4")
    (tmp_path / "beams.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="LMEvalProbe.task: local_exact: the task generates with num_beams: 4, which"):
        LMEvalProbe("local_exact", include_path=str(tmp_path)).measure(policy)


def test_the_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "semalign_pl.probes.lm_eval_tasks", raising=False)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    with pytest.raises(ValueError, match=r"lm_eval.* is not installed; run `pip install 'semalign-pl\[lm-eval\]'`"):
        LMEvalProbe("gsm8k")
