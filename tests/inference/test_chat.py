"""``semalign chat``: the model gets the whole conversation in its template, and a mistake does not end it."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest
import torch
import yaml
from peft import AutoPeftModelForCausalLM
from transformers import AutoTokenizer

from semalign_pl.__main__ import main
from semalign_pl.data.tasks import Translation
from semalign_pl.messages.terminal import visible


def talk(run: Path, lines: list[str], monkeypatch, capsys) -> list[str]:
    monkeypatch.setattr(sys, "stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
    capsys.readouterr()
    assert main(["chat", str(run)]) == 0
    return capsys.readouterr().out.removesuffix("\n").split("\n")


@pytest.fixture
def reply(own_run, base):
    """Greedy answer of transformers and PEFT to a conversation."""
    model = AutoPeftModelForCausalLM.from_pretrained(own_run / "adapter").eval()
    tokenizer = AutoTokenizer.from_pretrained(base)

    def answer(*messages: str, system: str | None = None) -> str:
        turns = [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(messages)]
        turns = turns if system is None else [{"role": "system", "content": system}, *turns]
        ids = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt")["input_ids"]
        with torch.no_grad():
            made = model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False
            )
        return tokenizer.decode(made[0, ids.shape[1] :], skip_special_tokens=True)

    return answer


def test_conversation_task_and_new_conversation(own_run, reply, monkeypatch, capsys) -> None:
    lines = [
        "你好",
        "老师在学校看书。",
        "/new",
        "老师在学校看书。",
        "/task 老师在学校看书。",
        "/nonsense",
        "/quit",
        "never",
    ]
    out = talk(own_run, lines, monkeypatch, capsys)
    first = reply("你好")
    task = Translation().example({"zh": "老师在学校看书。"}, "").prompt
    expected = [first, reply("你好", first, "老师在学校看书。"), reply("老师在学校看书。"), reply(task)]
    assert "\n".join(out[:-1]) == visible("\n".join(expected))
    assert expected[1] != expected[2], "the history would not be seen"
    assert out[-1] == "there is no command /nonsense; /help lists them"


def test_a_task_keeps_its_system_text(own_run, reply, monkeypatch, capsys) -> None:
    recipe = yaml.safe_load((own_run / "fit.yaml").read_text())
    recipe["data"]["init_args"]["task"] = {"class_path": "Translation", "init_args": {"system": "你好，学生。"}}
    (own_run / "fit.yaml").write_text(yaml.safe_dump(recipe))
    prompt = Translation().example({"zh": "老师在学校看书。"}, "").prompt
    first = reply(prompt, system="你好，学生。")
    second = reply(prompt, first, "你好", system="你好，学生。")
    out = talk(own_run, ["/task 老师在学校看书。", "你好"], monkeypatch, capsys)
    assert "\n".join(out) == visible("\n".join([first, second]))
    assert first != reply(prompt), "the system text would not be seen"


def test_a_message_that_cannot_be_answered_leaves_the_conversation_as_it_was(own_run, monkeypatch, capsys) -> None:
    recipe = yaml.safe_load((own_run / "fit.yaml").read_text())
    recipe["data"]["init_args"]["task"] = {
        "class_path": "Instruction",
        "init_args": {"prompt": "{question} {context}", "completion": "{answer}"},
    }
    (own_run / "fit.yaml").write_text(yaml.safe_dump(recipe))
    out = talk(own_run, ["你好", "/new", "/task 学生", "你好"], monkeypatch, capsys)
    no = "no answer: a prompt of this task has 2 fields (question, context)"
    place = next(number for number, line in enumerate(out) if line.startswith(no))
    assert out[:place] == out[place + 1 :] != []


def test_stdin_that_is_no_utf_8_is_one_line(own_run, monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO("你好".encode("gb18030")), encoding="utf-8"))
    assert main(["chat", str(own_run)]) == 2
    assert "stdin: byte 0 is not UTF-8" in capsys.readouterr().err
