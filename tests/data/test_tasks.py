"""Tasks: prompts in both directions, headlines, summaries, instructions, templates, and prompts in other languages."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from helpers.batch_recorder import parse

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data import CorpusDataModule, Headline, Instruction, Summarisation, Task, Translation
from semalign_pl.types import Example

ROW = {"zh": "第{0}条{source}", "bo": "དོན་ཚན་དང་པོ།", "topic": "law", "en": "Law"}


@pytest.mark.parametrize(
    ("task", "prompt", "reference", "language"),
    [
        (Translation(), f"把下面的中文翻译成藏文：{ROW['zh']}", ROW["bo"], "bo"),
        (Translation("bo", "zh"), f"把下面的藏文翻译成中文：{ROW['bo']}", ROW["zh"], "zh"),
        (Translation(prompt="{source} → bo {x}"), f"{ROW['zh']} → bo {{x}}", ROW["bo"], "bo"),
        (Translation("topic", "xx"), "把下面的topic翻译成xx：law", "?", "xx"),
        (Headline("zh", "bo"), f"给下面的文章写一个藏文标题：{ROW['zh']}", ROW["bo"], "bo"),
        (Headline("zh", "bo", "ug", "H: {article}"), f"H: {ROW['zh']}", ROW["bo"], "ug"),
        (Summarisation("zh", "bo"), f"给下面的文章写一个藏文摘要：{ROW['zh']}", ROW["bo"], "bo"),
        (
            Translation(prompt_language="en"),
            f"Translate the following Chinese into Tibetan: {ROW['zh']}",
            ROW["bo"],
            "bo",
        ),
        (Translation(prompt_language="bo"), f"གཤམ་གྱི་རྒྱ་ཡིག་དེ་བོད་ཡིག་ལ་བསྒྱུར་རོགས། {ROW['zh']}", ROW["bo"], "bo"),
        (Translation("en", "bo", prompt_language="th"), "แปลภาษาอังกฤษต่อไปนี้เป็นภาษาทิเบต: Law", ROW["bo"], "bo"),
        (
            Headline("zh", "bo", "en", prompt_language="en"),
            f"Write a headline in English for the following article: {ROW['zh']}",
            ROW["bo"],
            "en",
        ),
    ],
)
def test_example(task: Task, prompt: str, reference: str, language: str) -> None:
    row = {**ROW, "xx": "?"}
    assert task.example(row, "c:1") == Example("c:1", prompt, reference, row, row[task.fields[0]])
    assert task.target_language == language
    assert task.example(row, "c:1").columns is not row


def test_fields_are_what_a_row_must_have() -> None:
    assert Translation("bo", "en").fields == ("bo", "en")
    assert Headline().fields == ("article", "headline")


def test_text_is_not_normalised() -> None:
    text = " e\u0301 \u0f71\u0f72\u0f0c\ufffd\u200b\r\n"
    example = Translation(prompt="{source}").example({"zh": text, "bo": text}, "c:1")
    assert example.prompt == example.reference == text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Translation(prompt="翻译"), "init_args.prompt: '翻译' has no {source}"),
        (lambda: Translation(prompt=""), "has no {source}"),
        (lambda: Translation(prompt="{article}"), "has no {source}"),
        (lambda: Headline(prompt="{source}"), "has no {article}"),
        (lambda: Translation("bo", "bo"), "'bo' is both"),
        (lambda: Translation(prompt_language="xx"), "no prompt in 'xx', only in zh, en, bo, th; give the wording"),
        (lambda: Instruction("Hello"), "init_args.prompt: 'Hello' has no {field}"),
        (lambda: Instruction("{{a}}"), "has no {field}"),
        (lambda: Instruction("{a}", "b"), "init_args.completion: 'b' has no {field}"),
        (lambda: Instruction("{a} {", "{b}"), "has a lone { (character 5); double it"),
        (lambda: Instruction("{a}}", "{b}"), "has a lone } (character 4)"),
        (lambda: Instruction("{}{a}", "{b}"), "has a lone {"),
        (lambda: Instruction("{a} {b}", "{c}", ["x"]), "optional: 'x' is no field of the prompt, which has a, b"),
        (lambda: Instruction("{a} {b}", "{b}", ["b"]), "optional: 'b' is part of the completion"),
        (lambda: Instruction("{a} {b}", "{c}", ["b", "a"]), "all fields of the prompt may be empty"),
    ],
)
def test_mistakes(make: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()  # type: ignore[operator]
    assert message in str(caught.value)


@pytest.mark.parametrize("language", ["zh", "en", "bo", "th"])
@pytest.mark.parametrize("task", [Translation, Headline, Summarisation])
def test_every_shipped_wording_is_filled(task: type[Task], language: str) -> None:
    made = task(prompt_language=language)  # type: ignore[call-arg]
    row = dict.fromkeys(made.fields, "TEXT")
    assert made.example(row, "c:1").prompt.count("TEXT") == 1
    assert "{" not in made.example(row, "c:1").prompt


def test_instructions_over_any_fields() -> None:
    task = Instruction("{instruction}\n\nText: {input}", "{output} {{end}}", optional=["input"], language="zh")
    row = {"instruction": "读", "input": "{x}\n书", "output": "好{output}"}
    assert task.example(row, "c:1") == Example("c:1", "读\n\nText: {x}\n书", "好{output} {end}", row, "读\n{x}\n书")
    for missing in ({}, {"input": ""}, {"input": " \n"}):
        example = task.example({"instruction": "读", "output": "好", **missing}, "c:1")
        assert (example.prompt, example.source, example.reference) == ("读\n", "读", "好 {end}")
        assert not example.columns["input"].strip()
    assert task.fields == ("instruction", "input", "output") and task.optional == {"input"}
    assert task.columns_to_read("train", {"output": "answer", "topic": "topic"}) == {
        "instruction": "instruction", "input": "input", "output": "answer", "topic": "topic",
    }  # fmt: skip


def test_multiple_choice_and_questions() -> None:
    choice = Instruction("{Question}\nA. {A}\nB. {B}\n答案：", "{Answer}")
    row = {"Question": "几？", "A": "一", "B": "二", "Answer": "B"}
    example = choice.example(row, "c:1")
    assert (example.prompt, example.reference) == ("几？\nA. 一\nB. 二\n答案：", "B")
    assert example.source == "几？\n一\n二"
    question = Instruction("{the context}\n{问}", "{the context}: {answer}")
    assert question.fields == ("the context", "问", "answer")


def test_source_only_reads_nothing_of_the_answer_in_training() -> None:
    copy = Instruction("{text} {hint}", "{text} {answer}", source_only=True)
    assert set(copy.columns_to_read("train", {"answer": "a"})) == {"text", "hint"}
    assert set(copy.columns_to_read("test", {})) == {"text", "hint", "answer"}
    assert copy.example({"text": "t", "hint": "h"}, "c:1").reference == ""
    assert Summarisation(source_only=True).columns_to_read("train", {"article": "body"}) == {"article": "body"}


def test_a_language_of_ones_own_names_field_and_language(tmp_path: Path) -> None:
    path = str(tmp_path / "mine.yaml")
    with pytest.raises(ValueError, match="mine.yaml"):  # not taken for a language code
        Translation(target=path)


def test_real_multiple_choice_by_yaml_alone(shared: Path) -> None:
    task = Instruction("{Question}\nA. {A}\nB. {B}\nC. {C}\nD. {D}\n答案：", "{Answer}", language="zh")
    data = CorpusDataModule(test=str(shared / "cmmlu" / "dev" / "agronomy.csv"), task=task)
    data.setup("test")
    examples = data.examples["test"]
    assert len(examples) == 5 and {example.reference for example in examples} <= set("ABCD")
    assert all(example.prompt.count("\n") == 5 for example in examples)


def test_an_instruction_from_yaml(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["semalign"])
    recipe = """
        data:
          class_path: CorpusDataModule
          init_args:
            task:
              class_path: Instruction
              init_args: {prompt: "{instruction}\\n{input}", completion: "{output}", optional: [input], language: bo}
    """
    task = parse(tmp_path, recipe).datamodule.task
    assert isinstance(task, Instruction) and task.optional == {"input"}
    assert task.example({"instruction": "读", "input": "书", "output": "好"}, "c:1").prompt == "读\n书"


SMOL = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nYou are a helpful AI assistant<|im_end|>\n' }}{% endif %}"
    "{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
"""Chat template that writes a system text of its own, as SmolLM2's does."""


@pytest.mark.parametrize(
    "make", [Translation, Headline, Summarisation, lambda **options: Instruction("{zh}", "{bo}", **options)]
)
def test_a_system_text_replaces_the_templates_own(make, tokenizer) -> None:
    smol = copy.deepcopy(tokenizer)
    smol.chat_template = SMOL
    encoder = PromptEncoder(smol, (smol.eos_token_id,))
    row = {"zh": "法", "bo": "ཁྲིམས", "article": "法", "headline": "ཁྲིམས", "summary": "ཁྲིམས"}
    own = make().example(row, "c:1")
    for system, head in ((None, "You are a helpful AI assistant"), ("", ""), ("Translate.", "Translate.")):
        example = make(system=system).example(row, "c:1")
        (ids,), (cut,) = encoder.encode_prompts([example.policy_prompt], 500)
        wanted = (
            f"<|im_start|>system\n{head}<|im_end|>\n<|im_start|>user\n{own.prompt}<|im_end|>\n<|im_start|>assistant\n"
        )
        assert smol.decode(ids) == wanted and not cut and ids == encoder.encode_prompt(example.policy_prompt, 500)
        assert (example.prompt, example.source, example.reference) == (own.prompt, own.source, own.reference)


def test_an_empty_system_text_writes_nothing_where_there_is_no_system_turn(tokenizer) -> None:
    """In a template that refuses system turns, and in a tokenizer without a template."""
    refusing, plain = copy.deepcopy(tokenizer), copy.deepcopy(tokenizer)
    refusing.chat_template = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + SMOL
    plain.chat_template = None
    for one in (refusing, plain):
        encoder = PromptEncoder(one, (one.eos_token_id,))
        prompts = [Translation(system=system).example(ROW, "c:1").policy_prompt for system in (None, "", "S.")]
        without, empty, filled = (encoder.encode_prompt(prompt, 500) for prompt in prompts)
        assert without == empty and "S.\n" in one.decode(filled)
