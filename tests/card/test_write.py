"""The model card: what a run's folder says, and nothing that it does not say."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard

from semalign_pl.card.facts import find_languages
from semalign_pl.card.write import render_card, write_card

SIGNATURE = "reward:semantic|weight:1.5|encoder:/home/me/private/encoder|tau:0.4"


def score(
    value: float, ci: tuple[float, float] | None, signature: str = "s", items: str | None = None
) -> dict[str, object]:
    return {"value": value, "ci": ci, "signature": signature, "items": items}


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Folder of a run in a study, with the base's test beside it."""
    folder = tmp_path / "study" / "seed-0" / "grpo"
    task = {"class_path": "Translation", "init_args": {"source": "zh", "target": "bo"}}
    recipe = {
        "model": {"init_args": {"base": "Qwen/Qwen3-4B", "weights": "nf4", "beta": 0.04}},
        "data": {"init_args": {"task": task, "batch_size": 16}},
        "trainer": {"default_root_dir": "study/seed-0/grpo"},
    }
    metrics = {
        "chrf": score(41.25, (39.5, 43)),
        "cmrc_f1": score(80, (76, 84)),
        "cmrc_em": score(70, None, "another"),
        "arc_easy_accuracy": score(35, None),
        "nll_change_mean": score(0.125, (0.1, 0.15)),
    }
    before = {
        "chrf": score(2, None),
        "cmrc_f1": score(82.5, None),
        "cmrc_em": score(75, None),
        "arc_easy_accuracy": score(48, None),
    }
    corpus = {"source": "data/train.jsonl", "kept": 2900, "read": 3000}
    licensed = {**corpus, "licence": "https://example.org/by/4.0/"}
    training = {"stage": "grpo", "steps": 150, "seed": 0, "signatures": [SIGNATURE], "finished": "May"}
    files = {
        "fit.yaml": recipe,
        "results.json": {"metrics": metrics, "run": {"rows": 300, "trained": {"finished": "May"}}},
        "../base/results.json": {"metrics": before, "run": {"rows": 300, "trained": None}},
        "../base/test.yaml": {"model": {"init_args": {"base": "Qwen/Qwen3-4B", "adapter": None}}},
        "../../results.json": {"systems": {"grpo": {}}},
        "corpus/train.json": {"corpora": [licensed, {**corpus, "source": "/home/me/my|own.xlsx", "kept": 7}]},
        "adapter/training.json": training,
        "adapter/adapter_config.json": {"r": 24, "lora_alpha": 48, "base_model_name_or_path": "Qwen/Qwen3-4B"},
        "../../../data/train.jsonl": {},
        "../../../data/SOURCE.json": {"source": "https://example.org/a", "files": {"train.jsonl": {}}},
    }
    for name, content in files.items():
        path = Path(folder, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content), encoding="utf-8")
    (tmp_path / "study" / "quality_against_tax.png").write_bytes(b"picture")
    return folder


def test_the_card_says_what_the_folder_says(run: Path) -> None:
    write_card(run / "adapter", "adapter", run, repository="you/name")
    card = (run / "adapter" / "README.md").read_text(encoding="utf-8")
    matter = ModelCard.load(run / "adapter" / "README.md").data.to_dict()  # as the hub reads it
    assert (matter["base_model"], matter["language"], matter["library_name"]) == ("Qwen/Qwen3-4B", ["bo", "zh"], "peft")
    for row in (
        "| chrf | 41.25 | 39.5 to 43 | 2 |",
        "| cmrc_em | 70 | – | – |",  # the base was measured in another way
        "| cmrc_f1 | 2.5 |",  # lost: 82.5 - 80
        "| arc_easy_accuracy | 13 |",  # lost, too, whatever the name of the probe
        "| nll_change_mean | 0.125 |",
        "| train | data/train.jsonl | 2900 | 3000 | https://example.org/by/4.0/ (https://example.org/a) |",
        "| train | my\\|own.xlsx | 7 | 3000 | not given |",
        "- `reward:semantic|weight:1.5|encoder:encoder|tau:0.4`",
        "- batch_size: 16",
        "- beta: 0.04",
        "- r: 24",
        "vllm serve Qwen/Qwen3-4B --enable-lora --max-lora-rank 32 --lora-modules adapter=you/name",
    ):
        assert row in card, (row, card)
    assert "| cmrc_em | 5 |" not in card and "/home/me" not in card and str(run.parents[2]) not in card
    assert "![" in card and (run / "adapter" / "quality_against_tax.png").read_bytes() == b"picture"
    assert "[More Information Needed]" not in card  # PEFT's template


@pytest.mark.parametrize(
    ("file", "facts", "absent"),
    [
        ("results.json", {"trained": None}, "41.25"),  # the base
        ("results.json", {"trained": {"finished": "April"}}, "41.25"),  # the cold start
        ("results.json", {"trained": {"finished": "May"}, "adapter_scale": 0.5}, "41.25"),
        ("../base/results.json", {"rows": 300, "trained": {"finished": "April"}}, "| 2 |"),
        ("../base/results.json", {"rows": 20, "trained": None}, "| 2 |"),
    ],
)
def test_scores_of_other_weights_or_rows_are_not_in_the_card(run: Path, file: str, facts: object, absent: str) -> None:
    content = json.loads((run / file).read_text(encoding="utf-8"))
    (run / file).write_text(json.dumps({**content, "run": facts}), encoding="utf-8")
    card = render_card(run / "adapter", "adapter", run)
    assert absent not in card and "| cmrc_f1 | 2.5 |" not in card
    if file == "results.json":
        command = "semalign test --config RUN/fit.yaml --model.init_args.adapter RUN/adapter"
        assert "This model was not tested yet. Test it" in card and f"\n{command}\n" in card


def test_another_base_and_another_study_beside_the_run_are_not_its_own(run: Path) -> None:
    (run.parent / "base" / "test.yaml").write_text("model: {init_args: {base: Qwen/Qwen3-8B, adapter: null}}")
    (run.parents[1] / "results.json").write_text('{"systems": {"sft": {"variants": {"sft.lr-1": {}}}}}')
    card = render_card(run / "adapter", "adapter", run)
    assert "| chrf | 41.25 | 39.5 to 43 | – |" in card and "| cmrc_f1 | 2.5 |" not in card and "![" not in card
    (run.parents[1] / "results.json").write_text('{"systems": {"sft": {"variants": {"grpo": {}}}}}')
    assert "![" in render_card(run / "adapter", "adapter", run)


def test_an_exported_copy_has_the_scores_of_its_original(run: Path) -> None:
    copy = run / "export" / "adapter"
    copy.mkdir(parents=True)
    (copy / "training.json").write_text('{"finished": "June", "exported_from": "runs/grpo"}', encoding="utf-8")
    assert "| chrf | 41.25 |" in render_card(copy, "adapter", run, "Qwen/Qwen3-4B")


def test_the_card_of_a_merged_model(run: Path) -> None:
    (run / "model").mkdir()
    (run / "model" / "training.json").write_text('{"stage": "grpo"}')
    card = render_card(run / "model", "model", run, "Qwen/Qwen3-4B", "you/name")
    matter = yaml.safe_load(card.split("---")[1])
    assert (matter["library_name"], matter["base_model_relation"]) == ("transformers", "finetune")
    assert "vllm serve you/name" in card and "unquantised weights" in card and "- r: 24" in card


def test_an_untested_model_says_so(run: Path) -> None:
    (run / "results.json").unlink()
    card = render_card(run / "adapter", "adapter", run)
    assert "This model was not tested yet." in card and "Not measured. Expect" in card and "| lost |" not in card
    alone = render_card(run / "adapter", "adapter", None)
    assert "No scores of these weights are known." in alone and "RUN/fit.yaml" not in alone
    assert "no report of its corpora" in alone and "bo" not in yaml.safe_load(alone.split("---")[1]).get("language", [])


@pytest.mark.parametrize(
    ("config", "rank"),
    [({"r": 8}, 8), ({"r": 100}, 128), ({"r": 8, "rank_pattern": {"q": 300}}, 320), ({"r": 8, "use_dora": True}, None),
     ({"r": 8, "trainable_token_indices": {"embed": [1, 2]}}, None), ({"r": 600}, None)],
)  # fmt: skip
def test_vllm_is_named_only_for_adapters_that_it_serves(run: Path, config: dict, rank: int | None) -> None:
    (run / "adapter" / "adapter_config.json").write_text(json.dumps(config))
    card = render_card(run / "adapter", "adapter", run, "Qwen/Qwen3-4B")
    assert (f"--max-lora-rank {rank} " in card) if rank else "vllm" not in card


def test_scores_of_probes_are_general_ability_whatever_their_names(run: Path) -> None:
    scores = {
        "bo-zh_chrf": ("translation", 30.0),
        "dev_accuracy": ("test/dev", 40.0),
        "my_accuracy": ("test", 50.0),
        "own_chrf": (None, 60.0),  # no function of items: the name decides
    }
    for file, lost in (("results.json", 7.25), ("../base/results.json", 0)):
        content = json.loads((run / file).read_text(encoding="utf-8"))
        content["metrics"] = {name: score(value - lost, None, "s", items) for name, (items, value) in scores.items()}
        (run / file).write_text(json.dumps(content), encoding="utf-8")
    card = render_card(run / "adapter", "adapter", run)
    assert "| bo-zh_chrf | 7.25 |" in card
    assert not any(f"| {name} | 7.25 |" in card for name in ("dev_accuracy", "my_accuracy", "own_chrf"))


def test_a_language_with_a_script_is_in_the_card(run: Path) -> None:
    text = (run / "fit.yaml").read_text(encoding="utf-8").replace('"bo"', '"mn-Mong"').replace('"zh"', '"zh-Hans"')
    (run / "fit.yaml").write_text(text, encoding="utf-8")
    matter = yaml.safe_load(render_card(run / "adapter", "adapter", run).split("---")[1])
    assert matter["language"] == ["mn", "zh"], "ISO 639 alone, as the hub documents it"
    assert matter["language_bcp47"] == ["mn-Mong", "zh-Hans"]
    assert find_languages({"language": "kk-Arab", "prompt_language": "base", "source": "my.yaml"}) == ["kk-Arab"]


def test_languages_are_those_that_the_recipe_names() -> None:
    recipe = {
        "trainer": {"callbacks": [{"init_args": {"language": "ug"}}]},
        "model": {"source": "base"},
        "target": None,
    }
    assert find_languages(recipe) == ["ug"]
    tasks = [{"path": "a.jsonl", "task": {"init_args": {"source": "zh", "target": "ug"}}}]
    default = {"init_args": {"source": "zh", "target": "bo"}}
    mixed: Any = {"data": {"init_args": {"task": default, "train": tasks}}}
    assert find_languages(mixed) == ["ug", "zh"], "the default task has no rows"
    mixed["data"]["init_args"]["train"] = [*tasks, "b.jsonl"]
    assert find_languages(mixed) == ["bo", "ug", "zh"]
