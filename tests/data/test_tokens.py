"""Tokenising once gives the same ids as row by row, cuts nothing silently, and a run reports its corpora."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from semalign_pl.chat.prompt_encoder import PromptEncoder, message_frame
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.examples import UNUSED, Examples
from semalign_pl.data.storing.cache import Prepared
from semalign_pl.data.tasks import Instruction, Translation
from semalign_pl.data.tokens import Limits, tokenise
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.types import Example

TEXTS = ["老师看书。", "", " 问 \n", "བཀྲ་ཤིས་བདེ་ལེགས།", "a<|im_end|>b", "x" * 300, "\u200b༼བོད༽", "{source}"]


@pytest.fixture(scope="module")
def prompt_encoder(base: str) -> PromptEncoder:
    return load_prompt_encoder(base)


@pytest.fixture
def pairs(tmp_path: Path) -> Prepared:
    """Rows of growing length, the last with a long prompt."""
    rows = [{"zh": "书", "bo": "ཀ་" * n} for n in range(1, 8)] + [{"zh": "书" * 60, "bo": "ཀ"}]
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return prepare(CorpusRequest(str(path), {"zh": "zh", "bo": "bo"}, fields=("zh", "bo")), cache=tmp_path / "c")


def test_many_at_once_are_as_one_by_one(prompt_encoder: PromptEncoder) -> None:
    for limit in (1000, 60):
        ids, cut = prompt_encoder.encode_prompts(TEXTS, limit)
        assert ids == [prompt_encoder.encode_prompt(prompt, limit) for prompt in TEXTS]
        assert cut == [len(prompt_encoder.encode_prompt(prompt, 1000)) > limit for prompt in TEXTS]
    assert any(cut)
    assert prompt_encoder.encode_completions(TEXTS) == [
        prompt_encoder.encode_completion(completion) for completion in TEXTS
    ]
    assert prompt_encoder.encode_prompts([], 9) == ([], []) and prompt_encoder.encode_completions([]) == []


TEMPLATES = {
    "none": None,
    "trims": "{% for m in messages %}[{{ m.content | trim }}]{% endfor %}>",
    "depends": "{% for m in messages %}{% if '{' in m.content %}!{% endif %}[{{ m.content }}]{% endfor %}>",
    "thinks": "{{ messages[0].content }}{% if enable_thinking is false %}<think></think>{% endif %}",
}


@pytest.mark.parametrize("name", TEMPLATES)
def test_templates_that_treat_messages_apart(
    prompt_encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(prompt_encoder.tokenizer, "chat_template", TEMPLATES[name])
    assert prompt_encoder.encode_prompts(TEXTS, 1000)[0] == [
        prompt_encoder.encode_prompt(prompt, 1000) for prompt in TEXTS
    ]
    if name != "none":
        assert (message_frame(prompt_encoder.chat.text) is None) == (name in ("trims", "depends"))
    if name == "thinks":
        assert prompt_encoder.tokenizer.decode(prompt_encoder.encode_prompts(["书"], 100)[0][0]).endswith(
            "<think></think>"
        )


def test_signature(prompt_encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    before = prompt_encoder.signature()
    assert before == prompt_encoder.signature()
    monkeypatch.setattr(prompt_encoder.tokenizer, "chat_template", TEMPLATES["thinks"])
    assert prompt_encoder.signature() != before


def lengths(prompt_encoder: PromptEncoder, pairs: Prepared) -> tuple[list[int], list[int]]:
    examples = [Translation().example(row, "") for row in pairs.table]
    return [len(prompt_encoder.encode_prompt(e.prompt, 1000)) for e in examples], [
        len(prompt_encoder.encode_completion(e.reference)) for e in examples
    ]


@pytest.mark.parametrize(
    ("too_long", "trains", "gone", "cut"),
    [
        ("cut_prompt", True, [4, 5, 6], 1),  # answers that are trained on and too long; the long prompt is cut
        ("cut_prompt", False, [], 1),
        ("drop", True, [4, 5, 6, 7], 0),
        ("drop", False, [4, 5, 6, 7], 0),
    ],
)
def test_too_long(
    prompt_encoder: PromptEncoder,
    pairs: Prepared,
    tmp_path: Path,
    too_long: Any,
    trains: bool,
    gone: list[int],
    cut: int,
) -> None:
    """No answer is ever cut; the table keeps the order."""
    prompts, answers = lengths(prompt_encoder, pairs)
    limits = Limits(max(prompts[:-1]) + 5, answers[3], too_long, trains)
    made = tokenise(pairs, Translation(), prompt_encoder, limits, drop=True, cache=tmp_path / "c")
    assert len(made.table) == 8 and made.unused == len(gone) and made.report["kept"] == 8 - len(gone)
    assert not gone or np.load(made.folder / UNUSED).tolist() == gone
    for place, row in enumerate(made.table):
        example = Translation().example(pairs.table[place], "")
        kept = place not in gone
        assert row["completion_ids"] == (prompt_encoder.encode_completion(example.reference) if kept else [])
        assert row["prompt_ids"] == (prompt_encoder.encode_prompt(example.prompt, limits.prompt) if kept else [])
    assert made.report["prompts_cut"] == cut
    listed = [json.loads(line) for line in (made.folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [line["id"] for line in listed] == [f"pairs.jsonl:{place + 1}" for place in gone]
    assert sum(made.report["dropped"].values()) == len(gone) == made.report["read"] - made.report["kept"]


@pytest.mark.parametrize(
    ("prompt", "kept"), [("{zh}\n{question}", False), ("{question}\n{zh}", True), ("{question}“{zh}”", True)]
)
def test_a_cut_leaves_the_question_in(prompt_encoder: PromptEncoder, tmp_path: Path, prompt: str, kept: bool) -> None:
    """The end of a long prompt is cut: with the question after the passage, nothing would be asked."""
    rows = [{"zh": text, "question": "谁看书？", "bo": "ཀ"} for text in ("老师看书。", "老师看书。" * 30)]
    path, names = tmp_path / "questions.jsonl", ("zh", "question", "bo")
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    request = CorpusRequest(str(path), {name: name for name in names}, fields=names)
    prepared, task = prepare(request, cache=tmp_path / "c"), Instruction(prompt, "{bo}")
    made = tokenise(prepared, task, prompt_encoder, Limits(100, 100), drop=True, cache=tmp_path / "c")
    dropped = {} if kept else {"prompt_too_long": 1}
    assert (made.report["kept"], made.report["prompts_cut"], made.report["dropped"]) == (1 + kept, int(kept), dropped)
    assert kept or "and asks after its longest field" in (made.folder / "dropped.jsonl").read_text(encoding="utf-8")


def test_too_long_is_refused(prompt_encoder: PromptEncoder, pairs: Prepared, tmp_path: Path) -> None:
    prompts, answers = lengths(prompt_encoder, pairs)
    limits = Limits(max(prompts), answers[3], "error", False)
    with pytest.raises(
        ValueError, match=r"too_long is error, and of .*pairs.jsonl 3 rows are; the first is pairs.jsonl:5: the answer"
    ):
        tokenise(pairs, Translation(), prompt_encoder, limits, drop=True, cache=tmp_path / "c")
    short = Limits(max(prompts) - 1, 1000, "error")
    with pytest.raises(ValueError, match=r"1 rows are; the first is pairs.jsonl:8: the prompt has more than .*raise"):
        tokenise(pairs, Translation(), prompt_encoder, short, drop=False, cache=tmp_path / "c")
    with pytest.raises(ValueError, match=r"all 8 rows are too long or too short, so nothing is left; .*raise"):
        tokenise(pairs, Translation(), prompt_encoder, Limits(1000, 1), drop=True, cache=tmp_path / "c")


def test_limits_in_tokens(prompt_encoder: PromptEncoder, pairs: Prepared, tmp_path: Path) -> None:
    _, answers = lengths(prompt_encoder, pairs)
    limits = Limits(1000, 1000, min_tokens=answers[1] - 1, max_tokens=answers[4] - 1)
    sources = [len(prompt_encoder.encode_completion(row["zh"])) - 1 for row in pairs.table]
    limits = Limits(1000, 1000, min_tokens=min(sources), max_tokens=answers[4] - 1)
    made = tokenise(pairs, Translation(), prompt_encoder, limits, drop=True, cache=tmp_path / "c")
    over = [n for n, (s, a) in enumerate(zip(sources, answers, strict=True)) if max(s, a - 1) > answers[4] - 1]
    assert made.report["dropped"] == {"too_many_tokens": len(over)} and over
    kept = tokenise(pairs, Translation(), prompt_encoder, limits, drop=False, cache=tmp_path / "c")
    assert kept.unused == 0  # evaluation keeps all rows


def test_the_cache_follows_tokenizer_limits_and_task(
    prompt_encoder: PromptEncoder, pairs: Prepared, tmp_path: Path
) -> None:
    def folder(task: Translation = Translation(), limits: Limits = Limits(1000, 1000)) -> Path:  # noqa: B008
        return tokenise(pairs, task, prompt_encoder, limits, drop=True, cache=tmp_path / "c").folder

    first = folder()
    assert folder() == first
    others = [folder(Translation(prompt="翻译：{source}")), folder(limits=Limits(1000, 999))]
    others.append(folder(Translation("bo", "zh")))
    prompt_encoder.tokenizer.add_tokens(["ཀ་ཀ་"])
    others.append(folder())
    assert len({first, *others}) == 5


# -- through the command line --------------------------------------------------------------------------------------


def corpus_report(runs: Any, name: str, part: str = "train") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = runs.folder / name / "corpus"
    listed = (folder / f"{part}_dropped.jsonl").read_text(encoding="utf-8").splitlines()
    return json.loads((folder / f"{part}.json").read_text(encoding="utf-8")), [json.loads(line) for line in listed]


def test_a_run_reports_its_corpora(runs: Any, capsys: pytest.CaptureFixture[str]) -> None:
    """Preparation by YAML of an unclean training corpus, shared by cold start and GRPO with limit and skip."""
    rows = (runs.corpus / "train.jsonl").read_text(encoding="utf-8").splitlines()
    dev = (runs.corpus / "dev.jsonl").read_text(encoding="utf-8").splitlines()
    dirty = [*rows, *random.Random(0).sample(rows, 3), dev[0], '{"zh": "英", "bo": ""}']
    path = runs.folder / "dirty.jsonl"
    path.write_text("\n".join(dirty) + "\n", encoding="utf-8")
    seen = {}
    for stage, name in (("sft", "cold"), ("grpo", "rl")):
        draw = "data.init_args.limit=12" if stage == "sft" else "data.init_args.skip=12"
        flags = (f"data.init_args.train={path}", "data.init_args.prepare={script: null}", draw)
        cli = runs("fit", stage, name, *flags, "data.init_args.bad_rows=quarantine")
        report, listed = corpus_report(runs, name)
        (one,) = report["corpora"]
        assert one["read"] == len(dirty) == one["kept"] + len(listed)
        assert one["dropped"]["bad_row"] == 1 and one["dropped"]["leak"] >= 1
        assert one["dropped"]["duplicate"] + one["dropped"]["leak"] >= 4
        assert report["used"] == len(cli.datamodule.examples["train"])
        assert one["prepare"]["script"] is None and one["limits"]["too_long"] == "cut_prompt"
        seen[name] = {example.id for example in cli.datamodule.examples["train"]}
    assert not seen["cold"] & seen["rl"]  # GRPO trains on exactly the rows that the cold start did not
    assert "rows read" in capsys.readouterr().out


def test_long_answers_are_dropped_and_said(runs: Any) -> None:
    rows = (runs.corpus / "train.jsonl").read_text(encoding="utf-8").splitlines()
    long = json.loads(rows[0])
    long["bo"] *= 5
    path = runs.folder / "long.jsonl"
    path.write_text("\n".join([*rows, json.dumps(long)]) + "\n", encoding="utf-8")
    flags = (f"data.init_args.train={path}", "trainer.max_steps=1")
    cli = runs("fit", "sft", "run", *flags)
    report, listed = corpus_report(runs, "run")
    assert report["corpora"][0]["dropped"] == {"answer_too_long": 1} == {listed[0]["reason"]: len(listed)}
    assert listed[0]["id"] == f"long.jsonl:{len(rows) + 1}" and listed[0]["row"]["bo"] == long["bo"]
    used = [example.id for example in cli.datamodule.examples["train"]]
    assert report["used"] == len(rows) == len(used) and listed[0]["id"] not in used
    with pytest.raises(ValueError, match="data.init_args.too_long is error, and of"):
        runs("fit", "sft", "other", *flags, "data.init_args.too_long=error")


def test_a_mix_of_two_tasks(runs: Any) -> None:
    """Both directions, one twice as often: the rows of an epoch, and exact resuming from a checkpoint."""
    train = str(runs.corpus / "train.jsonl")
    there, back = (
        {"class_path": "Translation", "init_args": {"source": s, "target": t}} for s, t in (("zh", "bo"), ("bo", "zh"))
    )
    recipe = runs.recipe("sft", [runs.checkpoints("mix", 3)])
    recipe["data"]["init_args"]["train"] = [
        {"path": train, "task": there, "weight": 2},
        {"path": train, "task": back, "weight": 1},
    ]
    path = runs.write(recipe, "mix")
    from semalign_pl.cli import main

    cli = main(["fit", "--config", str(path), f"--trainer.default_root_dir={runs.folder / 'mix'}"])
    order = cli.datamodule.train_dataloader().sampler
    rows = len(cli.datamodule.examples["train"])
    epoch = list(order)
    assert rows == 2 * order.sizes[0] and sum(row < rows // 2 for row in epoch) == round(rows * 2 / 3)
    prompts = {cli.datamodule.examples["train"][row].prompt[:10] for row in epoch}
    assert len(prompts) == 2
    (checkpoint,) = (runs.folder / "mix").glob("step=3.ckpt")
    resumed = ["fit", "--config", str(path), f"--ckpt_path={checkpoint}", "--trainer.max_steps=4"]
    again = main([*resumed, f"--trainer.default_root_dir={runs.folder / 'again'}"])
    assert again.trainer.global_step == 4
    recipe["data"]["init_args"]["train"][0]["weight"] = 5
    path = runs.write(recipe, "mix")
    with pytest.raises(ValueError, match=r"data.init_args.train.0.weight was 2.0 and is 5.0"):
        main([*resumed, f"--trainer.default_root_dir={runs.folder / 'third'}"])

    # The data module compares the mix itself: a checkpoint of an earlier version does not hold the settings.
    saved = torch.load(checkpoint, weights_only=True)
    del saved["semalign"]["settings"]
    torch.save(saved, checkpoint)
    with pytest.raises(ValueError, match="the checkpoint was trained with mix"):
        main([*resumed, f"--trainer.default_root_dir={runs.folder / 'fourth'}"])


def test_the_loader_never_starves_the_step(runs: Any) -> None:
    """By the run's timings, reading a batch takes a small part of a step's time."""
    runs("fit", "sft", "run", "trainer.max_steps=6")
    rows = runs.metrics("run")
    waiting = [float(row["train/time/data_seconds"]) for row in rows if row["train/time/data_seconds"]]
    stepping = [float(row["train/time/update_seconds"]) for row in rows if row["train/time/update_seconds"]]
    assert len(waiting) == len(stepping) == 6 and all(seconds > 0 for seconds in waiting[:1])
    assert sum(waiting) < 0.2 * sum(stepping)


class Plain(Translation):
    def example(self, row: Mapping[str, str], id: str) -> Example:
        return super().example(row, id)


def test_a_task_with_other_code_is_tokenised_anew(
    pairs: Prepared, prompt_encoder: PromptEncoder, tmp_path: Path
) -> None:
    """The two tasks differ only on real text, not on the placeholders that the cache key also contains."""

    class Marked(Translation):
        def example(self, row: Mapping[str, str], id: str) -> Example:
            made = super().example(row, id)
            return made if "<" in made.source else replace(made, prompt=f"{made.prompt}!")

    Marked.__name__ = Plain.__name__
    prompts = []
    for task in (Plain("zh", "bo"), Marked("zh", "bo")):
        made = tokenise(pairs, task, prompt_encoder, Limits(1000, 1000), True, tmp_path / "c")
        prompts.append(Examples([(made.table, task)])[0].prompt)
    assert prompts[1] == f"{prompts[0]}!"
