"""Tasks: prompts in both directions, headlines, and templates."""

from __future__ import annotations

import pytest

from semalign_pl.data import Headline, Task, Translation
from semalign_pl.types import Example

ROW = {"zh": "第{0}条{source}", "bo": "དོན་ཚན་དང་པོ།", "topic": "law"}


@pytest.mark.parametrize(
    ("task", "prompt", "reference", "language"),
    [
        (Translation(), f"把下面的中文翻译成藏文：{ROW['zh']}", ROW["bo"], "bo"),
        (Translation("bo", "zh"), f"把下面的藏文翻译成中文：{ROW['bo']}", ROW["zh"], "zh"),
        (Translation(prompt="{source} → bo {x}"), f"{ROW['zh']} → bo {{x}}", ROW["bo"], "bo"),
        (Translation("topic", "xx"), "把下面的topic翻译成xx：law", "?", "xx"),
        (Headline("zh", "bo"), f"给下面的文章写一个藏文标题：{ROW['zh']}", ROW["bo"], "bo"),
        (Headline("zh", "bo", "ug", "H: {article}"), f"H: {ROW['zh']}", ROW["bo"], "ug"),
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
    ],
)
def test_mistakes(make: object, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make()  # type: ignore[operator]
    assert message in str(caught.value)
