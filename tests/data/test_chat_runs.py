"""Chat data with a translation corpus, from files to trained adapters, by real processes of the command line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.conversations import openai, sharegpt

from semalign_pl.data import Conversation
from semalign_pl.data.cleaning.prepare import CorpusRequest, prepare
from semalign_pl.data.storing.cache import Prepared
from semalign_pl.data.tokens import Limits, tokenise
from semalign_pl.policy.load_encoder import load_prompt_encoder

TRANSLATION = {"class_path": "Translation", "init_args": {"source": "zh", "target": "bo"}}
CONVERSATION = {"class_path": "Conversation"}
SYSTEM = "老师"


def chat(path: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """Corpus of conversations with one and with several exchanges, in two shapes."""
    answers = ["学生在学校看书。", "农民在山上唱歌。", "医生在家里吃饭。"]
    made = [
        {"messages": openai(f"s:{SYSTEM}", f"u:{a}", f"a:{b}", f"u:{b}", f"a:{a}")} for a in answers for b in answers
    ]
    made = [row for row in made if row["messages"][1]["content"] != row["messages"][2]["content"]]
    made += [{"conversations": sharegpt(f"u:{a}", "a:书")} for a in answers]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows or made), encoding="utf-8")
    return path


def mix(runs: Any, stage: str, rows: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    """Recipe that trains on pairs and conversations, and tests on conversations."""
    recipe = runs.recipe(stage, [{"class_path": "SampleTable", "init_args": {"every_n_steps": 1, "groups": 99}}])
    talks = str(chat(runs.folder / "chat.jsonl", rows))
    recipe["data"]["init_args"] |= {
        "train": [
            {"path": str(runs.corpus / "train.jsonl"), "task": TRANSLATION},
            {"path": talks, "task": CONVERSATION},
        ],
        "test": talks,
        "task": CONVERSATION,
        "batch_size": 49,
        "prepare": {"script": None, "decontaminate": False},
    }
    recipe["model"]["init_args"]["micro_batch_tokens"] = 4000
    recipe["trainer"]["max_steps"] = 1
    return recipe


def run(runs: Any, command: str, recipe: dict[str, Any], name: str, *flags: str) -> tuple[int, str]:
    path = runs.write(recipe, f"{name}-{command}")
    args = [command, "--config", str(path), f"--trainer.default_root_dir={runs.folder / name}", *flags]
    (done,) = runs.processes(args)
    return done


def test_a_mix_trains_by_sft_and_is_tested_on_conversations(runs: Any, tokenizer: Any) -> None:
    recipe = mix(runs, "sft")
    status, output = run(runs, "fit", recipe, "sft")
    assert status == 0, output
    report = json.loads((runs.folder / "sft" / "corpus" / "train.json").read_text(encoding="utf-8"))
    assert [corpus["kept"] for corpus in report["corpora"]] == [40, 9] and report["used"] == 49
    (step,) = [row for row in runs.metrics("sft") if row["train/loss"]]
    assert float(step["train/loss"]) > 0 and float(step["train/rows_too_long"]) == 0

    recipe["model"]["init_args"] |= {"adapter": str(runs.folder / "sft" / "adapter"), "max_new_tokens": 8}
    del recipe["model"]["init_args"]["lora"]
    recipe["trainer"]["callbacks"] = [{"class_path": "Evaluation", "init_args": {"language": "zh"}}]
    status, output = run(runs, "test", recipe, "tested")
    assert status == 0, output
    rows = runs.predictions("tested")
    assert len(rows) == 9 == runs.results("tested")["run"]["rows"]
    assert rows[0]["prompt"] == (
        f"system: {SYSTEM}\n\nuser: 学生在学校看书。\n\nassistant: 农民在山上唱歌。\n\nuser: 农民在山上唱歌。"
    )
    assert rows[0]["reference"] == "学生在学校看书。"
    assert (rows[-1]["prompt"], rows[-1]["reference"]) == ("医生在家里吃饭。", "书")


def test_a_mix_trains_by_grpo(runs: Any) -> None:
    recipe = mix(runs, "grpo")
    status, output = run(runs, "fit", recipe, "refused")
    assert status == 2 and "LanguageReward.language: bo, but chat" in output.splitlines()[-1]
    callbacks = recipe["trainer"]["callbacks"]
    recipe["trainer"]["callbacks"] = [one for one in callbacks if one["class_path"] != "LanguageReward"]
    status, output = run(runs, "fit", recipe, "grpo")
    assert status == 0, output
    lines = (runs.folder / "grpo" / "completions.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    talks = [row for row in rows if row["id"].startswith("chat.jsonl")]
    assert len(rows) == 98 and len(talks) == 18  # two completions per prompt
    assert sum(row["prompt"].startswith(f"system: {SYSTEM}\n\nuser: ") for row in talks) == 12
    assert all(row["rewards"]["semantic"] is not None for row in rows)


def test_the_model_is_given_all_turns(runs: Any, tokenizer: Any) -> None:
    """A run trains on the token ids of the template's rendering of the whole conversation."""
    from semalign_pl.cli import main

    path = runs.write(mix(runs, "sft"), "ids")
    cli = main(["fit", "--config", str(path), f"--trainer.default_root_dir={runs.folder / 'ids'}"])
    examples = [e for e in cli.datamodule.examples["train"] if e.id.startswith("chat.jsonl")]
    rows = [json.loads(line) for line in (runs.folder / "chat.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(examples) == len(rows) == 9
    for example, row in zip(examples, rows, strict=True):
        turns = row.get("messages") or [
            {"role": {"human": "user", "gpt": "assistant"}[turn["from"]], "content": turn["value"]}
            for turn in row["conversations"]
        ]
        whole = tokenizer.apply_chat_template(turns, tokenize=True, return_dict=False)
        ids = [*example.prompt_ids, *example.completion_ids]
        assert ids == whole[: len(ids)] and tokenizer.decode(whole[len(ids) :]).strip() == ""


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_role_that_the_template_leaves_out_names_file_row_and_role(runs: Any, command: str, base: str) -> None:
    rows = [{"messages": openai("u:问", "a:答")}, {"messages": openai("u:问", "a:答", "t:7", "a:七")}]
    recipe = mix(runs, "sft", rows)
    recipe["trainer"]["callbacks"].append({"class_path": "Evaluation", "init_args": {"language": "zh"}})
    folder = Path(shutil.copytree(base, runs.folder / "no_tool"))
    template = "{% for m in messages %}{% if m.role != 'tool' %}[{{ m.content }}]{% endif %}{% endfor %}>"
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    recipe["model"]["init_args"]["base"] = str(folder)
    status, output = run(runs, command, recipe, "no_tool")
    last = output.strip().splitlines()[-1]
    assert status != 0 and "Traceback" not in output
    assert "chat.jsonl:2: turn 3 has the role tool, which the chat template of model.init_args.base does not" in last


def tokenised(base: str, folder: Path, name: str, rows: list[dict[str, Any]], limits: Limits) -> Prepared:
    encoder, task = load_prompt_encoder(base), Conversation()
    path, wanted = chat(folder / name, rows), task.columns_to_read("train", {})
    request = CorpusRequest(str(path), wanted, task.optional, fields=task.fields, chat=task.chat("train"))
    return tokenise(prepare(request, cache=folder / "c"), task, encoder, limits, True, folder / "c")


def test_the_token_cache_covers_the_turns(base: str, tmp_path: Path) -> None:
    """The same texts in other roles, or with the system turn as a user turn, give other token ids."""
    talks = openai("s:甲", "u:乙", "a:丙"), openai("u:甲", "a:答", "u:乙", "a:丙"), openai("u:甲\n\n乙", "a:丙")
    folders, ids = set(), []
    for number, turns in enumerate(talks):
        made = tokenised(base, tmp_path, f"{number}.jsonl", [{"messages": turns}], Limits(100, 100))
        folders.add(made.folder)
        ids.append(tuple(made.table[0]["prompt_ids"]))
    assert len(folders) == 3 == len(set(ids))


def test_a_conversation_that_cannot_be_cut_to_fit_is_dropped(base: str, tokenizer: Any, tmp_path: Path) -> None:
    talk = ["u:" + "问" * 9, "a:" + "答" * 9] * 3
    rows = [openai("s:" + "长" * 90, "u:问", "a:答"), openai("s:短", *talk), openai("u:问", "a:答")]
    made = tokenised(base, tmp_path, "c.jsonl", [{"messages": turns} for turns in rows], Limits(80, 100))
    assert made.report["dropped"] == {"prompt_too_long": 1} and made.report["prompts_cut"] == 1
    assert [len(row["prompt_ids"]) for row in made.table][0] == 0
    kept = tokenizer.decode(made.table[1]["prompt_ids"])
    assert "短" in kept and kept.count("问" * 9) == 1  # the oldest exchanges are dropped, the last message is whole
    (listed,) = (json.loads(line) for line in (made.folder / "dropped.jsonl").read_text(encoding="utf-8").splitlines())
    assert listed["id"] == "c.jsonl:1" and "the chat template and the system turn alone" in listed["detail"]
