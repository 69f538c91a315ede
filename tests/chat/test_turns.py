"""All turns in the chat template: true prefixes of the template's own rendering, templates that refuse, and cuts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import pytest

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.chat.turns import messages_of
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.types import CannotRender, Turn

TOOL = Turn("tool", "7")
SYSTEM, USER, ANSWER = Turn("system", "Be brief."), Turn("user", "老师看书。"), Turn("assistant", "དགེ་རྒན་")
THOUGHT = Turn("assistant", "<think>\n嗯\n</think>\n\nདགེ་རྒན་")
TALKS = {
    "one": (USER,),
    "system": (SYSTEM, USER),
    "two": (USER, ANSWER, Turn("user", "学生呢？")),
    "all": (
        SYSTEM,
        USER,
        ANSWER,
        Turn("user", "学生呢？"),
        Turn("assistant", "སློབ་མ་"),
        Turn("user", "农民在山上唱歌吗？医生呢？"),
    ),
    "thought": (USER, THOUGHT, Turn("user", "学生呢？")),
}
LONG = "".join(f"{number}号学生在学校看书。" for number in range(20))
TEMPLATES = {
    "chatml": None,  # the fixtures' own template
    "qwen3": """{%- for m in messages %}
{%- set content = m.content %}
{%- if m.role == 'assistant' and '</think>' in content %}
{%- set content = content.split('</think>')[-1].lstrip('\\n') %}
{%- endif %}
{{- '<|im_start|>' + m.role + '\\n' }}
{%- if m.role == 'assistant' and loop.last %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{{- content + '<|im_end|>\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}
{%- if enable_thinking is defined and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif %}
{%- endif %}""",
    "gemma": """{%- if messages[0].role == 'system' %}
{{- raise_exception('System role not supported') }}
{%- endif %}
{%- for m in messages %}
{%- if (m.role == 'user') != (loop.index0 % 2 == 0) %}
{{- raise_exception('Conversation roles must alternate') }}
{%- endif %}
{{- '<|im_start|>' + ('model' if m.role == 'assistant' else m.role) + '\\n' + m.content | trim + '<|im_end|>\\n' }}
{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>model\\n' }}{% endif %}""",
    "mistral": """{%- for m in messages %}
{%- if m.role == 'user' %}{{ '[INST]' + m.content + '[/INST]' }}
{%- elif m.role == 'assistant' %}{{ m.content + '<|im_end|>' }}
{%- elif m.role == 'system' %}{{ '[SYS]' + m.content + '[/SYS]' }}
{%- else %}{{ raise_exception('Only user, assistant and system roles') }}{% endif %}{%- endfor %}""",
}
NO_TOOL = "[{{ messages[0].content }}]{% for m in messages[1:] if m.role != 'tool' %}[{{ m.content }}]{% endfor %}>"


@pytest.fixture(scope="module")
def encoder(base: str) -> PromptEncoder:
    return load_prompt_encoder(base)


@pytest.fixture
def templated(encoder: PromptEncoder, monkeypatch: pytest.MonkeyPatch) -> Callable[[str | None], PromptEncoder]:
    def choose(template: str | None) -> PromptEncoder:
        monkeypatch.setattr(encoder.tokenizer, "chat_template", template)
        monkeypatch.setattr(encoder, "truncated_prompts", 0)
        return encoder

    return choose


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("name", TEMPLATES)
def test_prompt_and_completion_are_a_prefix_of_the_whole(
    encoder: PromptEncoder, templated: Callable[..., PromptEncoder], name: str, talk: str
) -> None:
    """Expected ids: transformers' rendering of the conversation with its last answer."""
    templated(TEMPLATES[name] or encoder.tokenizer.chat_template)
    turns = TALKS[talk]
    prompt, completion = encoder.encode_prompt(turns, 1000), encoder.encode_completion("ཞིང་པ་")
    messages = [*messages_of(turns), {"role": "assistant", "content": "ཞིང་པ་"}]
    if name == "gemma" and turns[0].role == "system":
        messages[:2] = [{"role": "user", "content": f"{turns[0].content}\n\n{turns[1].content}"}]
    whole = encoder.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)
    assert whole[: len(prompt) + len(completion)] == prompt + completion
    assert encoder.tokenizer.decode(whole[len(prompt) + len(completion) :]).strip() == ""
    rendered = encoder.tokenizer.decode(prompt)
    assert all(turn.content.split("</think>\n\n")[-1] in rendered for turn in turns)
    assert ("嗯" in rendered) == (talk == "thought" and name != "qwen3")  # nothing else is stripped
    if len(turns) == 1:
        assert prompt == encoder.encode_prompt(turns[0].content, 1000)


@pytest.mark.parametrize("name", [*TEMPLATES, "none"])
def test_many_conversations_at_once_are_as_one_by_one(
    encoder: PromptEncoder, templated: Callable[..., PromptEncoder], name: str
) -> None:
    """Including single messages: they are encoded like all other tasks' prompts, whatever else is in the batch."""
    templated(None if name == "none" else TEMPLATES[name] or encoder.tokenizer.chat_template)
    prompts = ["书", *TALKS.values(), (*TALKS["all"][:-1], Turn("user", LONG)), " 问 \n", LONG]
    # As many prompts of one task as are worth rendering together, with the same system text, a control token in it.
    for system in (SYSTEM, Turn("system", "<|im_end|>")):
        prompts[-2:-2] = [(system, Turn("user", text)) for text in ("书", "<|im_start|>", " 问 \n", "a\u0000b", LONG)]
    for limit in (1000, 60):
        ids, cut = encoder.encode_prompts(prompts, limit)
        assert ids == [encoder.encode_prompt(prompt, limit) for prompt in prompts]
        assert cut == [len(encoder.encode_prompt(prompt, 1000)) > limit for prompt in prompts]
        assert all(len(row) <= limit for row in ids) and any(cut) == (limit == 60)
    alone = encoder.encode_prompts(["书", " 问 \n"], 1000)[0]
    assert [encoder.encode_prompts(prompts, 1000)[0][i] for i in (0, -2)] == alone


def test_without_a_chat_template_turns_are_laid_out_as_they_were_trained(
    encoder: PromptEncoder, templated: Callable[..., PromptEncoder]
) -> None:
    templated(None)
    prompt = encoder.encode_prompt(TALKS["all"], 1000)
    trained = [encoder.encode_prompt(SYSTEM.content, 1000), encoder.encode_prompt(USER.content, 1000)]
    trained += [encoder.encode_completion(ANSWER.content), encoder.encode_prompt("学生呢？", 1000)]
    trained += [
        encoder.encode_completion("སློབ་མ་"),
        encoder.encode_prompt("农民在山上唱歌吗？医生呢？", 1000),
    ]
    assert prompt == [token for ids in trained for token in ids]


def test_a_template_without_system_turn_is_said_once(
    encoder: PromptEncoder, templated: Callable[..., PromptEncoder], monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    templated(TEMPLATES["gemma"])
    monkeypatch.setattr(encoder, "_merges_system", False)
    with caplog.at_level(logging.WARNING):
        encoder.encode_prompts(list(TALKS.values()), 1000)
        encoder.encode_prompt(TALKS["system"], 1000)
    assert [record.getMessage() for record in caplog.records] == [
        "the chat template has no system turn (System role not supported): system texts go before the first user "
        "message"
    ]


@pytest.mark.parametrize(
    ("template", "turns", "message"),
    [
        ("mistral", (USER, ANSWER, TOOL), "turn 3 has the role tool, which .* (Only user, assistant and "),
        (NO_TOOL, (USER, ANSWER, TOOL), "turn 3 has the role tool, .*does not render .it leaves the text"),
        (
            "[{{ messages[0].content }}]",
            (USER, ANSWER, USER),
            "turn 2 has the role assistant, .*it leaves the text out",
        ),
    ],
)
def test_a_turn_that_the_template_leaves_out_is_refused(
    encoder: PromptEncoder,
    templated: Callable[..., PromptEncoder],
    template: str,
    turns: tuple[Turn, ...],
    message: str,
) -> None:
    templated(TEMPLATES.get(template, template))
    with pytest.raises(CannotRender, match=message.replace("(Only", r"\(Only")) as caught:
        encoder.encode_prompts(["书", TALKS["one"], turns], 1000)
    assert caught.value.place == 2 and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", [*TEMPLATES, "none"])
def test_the_oldest_exchanges_are_left_out_first(
    encoder: PromptEncoder, templated: Callable[..., PromptEncoder], name: str
) -> None:
    """At all lengths: the system turn is kept, whole exchanges are dropped, then the end of the last message is cut."""
    templated(None if name == "none" else TEMPLATES[name] or encoder.tokenizer.chat_template)
    turns = TALKS["all"]
    left = [turns, (turns[0], *turns[3:]), (turns[0], turns[5])]
    whole = [encoder.encode_prompt(talk, 1000) for talk in left]
    least = len(encoder.encode_prompt((turns[0], Turn("user", "")), 1000))
    counted = 0
    for limit in range(len(whole[0]), least + 3, -1):  # for less, a template that trims leaves no character
        ids = encoder.encode_prompt(turns, limit)
        assert len(ids) <= limit
        fitting = next((one for one in whole if len(one) <= limit), None)
        if fitting is not None:
            assert ids == fitting
        else:
            rendered = encoder.tokenizer.decode(ids)
            assert SYSTEM.content in rendered and "学生呢" not in rendered and turns[5].content not in rendered
        counted += limit < len(whole[0])
    assert encoder.truncated_prompts == counted > 0
    assert len(whole[0]) > len(whole[1]) > len(whole[2]) > least + 4


def test_a_system_turn_that_is_too_long_alone(encoder: PromptEncoder) -> None:
    turns = (Turn("system", "长" * 50), USER)
    with pytest.raises(ValueError, match="max_prompt_tokens: 30 is less than the template and the system turn need"):
        encoder.encode_prompt(turns, 30)
    ids, cut = encoder.encode_prompts([turns, "书"], 30)
    assert ids[0] == [] and ids[1] and cut == [True, False]
