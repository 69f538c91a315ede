"""Published chat templates: true prefixes of their own rendering, the token that ends a turn, and refusals."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from helpers.template_kinds import KINDS, VOCABULARY, Kind, tokenizer_of
from tokenizers import processors

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.policy.load_encoder import load_prompt_encoder
from semalign_pl.types import CannotRender, Turn

Make = Callable[..., PromptEncoder]
CHATML = KINDS["qwen2.5"]
MESSAGES = ["老师在学校看书。", "The answer is (here).", "Two\n\nlines", "དགེ་རྒན་"]
ANSWERS = ["དགེ་རྒན་སློབ་གྲྭར་", "The answer", "7", "(x) y\nz", "看书。"]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Load the encoder of a folder without weights: configs and the tokenizer of a kind."""
    from transformers import GenerationConfig, Qwen3Config

    def load(
        kind: Kind, stops: tuple[str, ...] = (), change: Callable[[Any], Any] = lambda tokenizer: None
    ) -> PromptEncoder:
        folder = tmp_path_factory.mktemp("kind")
        tokenizer = tokenizer_of(kind)
        change(tokenizer)
        eos_ids = [tokenizer.convert_tokens_to_ids(stop) for stop in stops or (kind.eos,)]
        Qwen3Config(vocab_size=VOCABULARY).save_pretrained(folder)
        GenerationConfig(eos_token_id=eos_ids).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return load_prompt_encoder(str(folder))

    return load


def own_rendering(encoder: PromptEncoder, kind: Kind, turns: list[Turn]) -> list[int]:
    """Expected ids: transformers' rendering and its own tokenisation of the whole."""
    if kind.template is None:
        text = "".join(turn.content + (kind.end if turn.role == "assistant" else "\n") for turn in turns)
        return encoder.tokenizer(text)["input_ids"]
    typed = "part['type']" in kind.template
    messages = [
        {"role": t.role, "content": [{"type": "text", "text": t.content}] if typed else t.content} for t in turns
    ]
    return encoder.tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False, **kind.variables)


@pytest.mark.parametrize("name", KINDS)
def test_prompt_and_completion_are_a_prefix_of_the_templates_own_rendering(make: Make, name: str) -> None:
    kind = KINDS[name]
    encoder = make(kind)
    end = encoder.tokenizer.convert_tokens_to_ids(kind.end)
    before = [Turn("user", "学生呢？"), Turn("assistant", "The answer")]
    for message in MESSAGES:
        for answer in ANSWERS:
            prompt, completion = encoder.encode_prompt(message, 1000), encoder.encode_completion(answer)
            for start in ([], before):
                asked = [*start, Turn("user", message)]
                whole = own_rendering(encoder, kind, [*asked, Turn("assistant", answer)])
                prompt = encoder.encode_prompt(asked, 1000) if start else prompt
                assert whole[: len(prompt) + len(completion)] == [*prompt, *completion]
                assert encoder.tokenizer.decode(whole[len(prompt) + len(completion) :]).strip() == ""
            assert message in encoder.tokenizer.decode(prompt)
            assert completion[-1] == end == encoder.eos_ids[0] and prompt[-1] not in encoder.eos_ids
            assert encoder.decode([completion, completion[:-1]])[0] == answer
    assert encoder.tokenizer.eos_token_id in encoder.eos_ids  # a stop token that the user configured still stops
    assert encoder.encode_completions(ANSWERS) == [encoder.encode_completion(answer) for answer in ANSWERS]
    asked = [*MESSAGES, (*before, Turn("user", "问"))]
    assert encoder.encode_prompts(asked, 1000)[0] == [encoder.encode_prompt(prompt, 1000) for prompt in asked]


@pytest.mark.parametrize("name", KINDS)
def test_a_literal_control_token_in_a_text_stays_text(make: Make, name: str) -> None:
    """In messages, turns and references, singly and in batches, whole and cut."""
    kind = KINDS[name]
    encoder = make(kind)
    tokens = [*kind.special, *(mark for mark in kind.marks if "think" not in mark)]
    control = {encoder.tokenizer.convert_tokens_to_ids(token) for token in tokens}
    texts = [f"甲{token}乙" for token in tokens] + [f"a {tokens[0]}{tokens[-1]}\n{tokens[-1]} b", tokens[-1] * 30]

    def count(ids: list[int]) -> int:
        return sum(i in control for i in ids)

    harmless = encoder.encode_prompt("x", 1000)
    for text in texts:
        prompt, completion = encoder.encode_prompt(text, 2000), encoder.encode_completion(text)
        assert count(prompt) == count(harmless) and text in encoder.tokenizer.decode(prompt)
        assert count(completion) == 1 and encoder.decode([completion]) == [text]
        asked = (Turn("user", text), Turn("assistant", text), Turn("user", text))
        other = (Turn("user", "x"), Turn("assistant", "x"), Turn("user", "x"))
        assert count(encoder.encode_prompt(asked, 2000)) == count(encoder.encode_prompt(other, 2000))
        limit = len(harmless) + 8
        cut = encoder.encode_prompt(text, limit)
        assert count(cut) == count(harmless) and len(cut) <= limit
    assert encoder.encode_prompts(texts, 2000)[0] == [encoder.encode_prompt(text, 2000) for text in texts]
    assert encoder.encode_completions(texts) == [encoder.encode_completion(text) for text in texts]


def test_what_ends_a_turn_is_said_once_and_every_configured_token_still_stops(make: Make, caplog: Any) -> None:
    gemma = KINDS["gemma"]
    with caplog.at_level(logging.INFO):
        encoder = make(gemma, stops=("<eos>", "<end_of_turn>", "<bos>"))
        encoder.encode_completions(ANSWERS)
    said = [record for record in caplog.records if "completions end in" in record.getMessage()]
    assert len(said) == 1 and "completions end in <end_of_turn> (4), the token that the chat" in said[0].getMessage()
    assert encoder.eos_ids == tuple(encoder.tokenizer.convert_tokens_to_ids(["<end_of_turn>", "<eos>", "<bos>"]))
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING and "stop" in record.message]


def test_an_end_token_that_is_no_stop_token_becomes_one_and_is_said(make: Make, caplog: Any) -> None:
    """Qwen2.5's base models: tokenizer and generation config both stop at another token."""
    encoder = make(CHATML)
    im_end, eos = encoder.tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"])
    assert encoder.eos_ids == (im_end, eos)
    (said,) = [record.getMessage() for record in caplog.records if "add it to eos_token_id" in record.getMessage()]
    assert "<|im_end|> (2), which neither eos_token nor generation_config.json name as a stop token" in said


def test_an_end_token_that_is_not_special_is_no_text(make: Make) -> None:
    encoder = make(replace(CHATML, special=("<|endoftext|>", "<|im_start|>"), marks=("<|im_end|>",)))
    completion = encoder.encode_completion("x<|im_end|>y")
    assert encoder.tokenizer.convert_tokens_to_ids("<|im_end|>") == completion[-1] not in completion[:-1]
    assert encoder.decode([completion, encoder.encode_completion("x")]) == ["x<|im_end|>y", "x"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('needs tools') }}", "raises 'needs tools'"),
        ("{{ messages[0].content + missing.date }}", "raises \"'missing' is undefined\""),
        ("{% for m in messages %}", "raises .*Unexpected end of template"),
        ("{{ 'x' + messages[0]['content'][0]['text']['y'] }}", "raises "),
        ("{% for m in messages if m.role == 'human' %}{{ m.content }}{% endfor %}>", "leaves the user's message out"),
    ],
)
def test_a_template_that_does_not_render_a_message_is_refused_in_one_line(
    make: Make, template: str, message: str
) -> None:
    with pytest.raises(ValueError, match=rf"^model\.init_args\.base: the chat template of .*{message}") as refusal:
        make(replace(CHATML, template=template))
    assert "\n" not in str(refusal.value) and "mend its chat_template.jinja" in str(refusal.value)


@pytest.mark.parametrize(
    ("condition", "message"),
    [("{{ raise_exception('No 7') }}", r"refuses it \(No 7\)"), ("[]", "leaves the user's message out")],
)
def test_a_message_that_the_template_does_not_render_is_refused_with_its_place(
    make: Make, condition: str, message: str
) -> None:
    template = "{% for m in messages %}{% if '7' in m.content %}" + condition + "{% else %}[{{ m.content | trim }}]"
    encoder = make(replace(CHATML, template=template + "{% endif %}{% endfor %}>"))
    assert encoder.tokenizer.decode(encoder.encode_prompt("  8 ", 100)).startswith("[8]")  # trimming is no loss
    with pytest.raises(CannotRender, match=message) as refusal:
        encoder.encode_prompts(["8", [Turn("user", "9")], "7", "8"], 100)
    assert refusal.value.place == 2 and "\n" not in str(refusal.value)
    with pytest.raises(CannotRender, match=message):
        encoder.encode_prompt("7", 100)


@pytest.mark.parametrize("template", [None, "{{ bos_token }}[{{ messages[0].content }}]>"])
@pytest.mark.parametrize("around", [("<s>", "</s>"), ("<s>", ""), ("", "</s>")])
def test_a_tokenizer_that_adds_tokens_neither_ends_nor_doubles_a_prompts(
    make: Make, template: str | None, around: tuple[str, str]
) -> None:
    def change(tokenizer: Any) -> None:
        single = " ".join([around[0], "$A", around[1]]).strip()
        special = [(token, tokenizer.convert_tokens_to_ids(token)) for token in around if token]
        tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=single, special_tokens=special
        )

    encoder = make(Kind(template, "</s>", "</s>", ("<s>", "</s>"), bos="<s>"), change=change)
    assert encoder.tokenizer.decode(encoder.tokenizer("问")["input_ids"]) == f"{around[0]}问{around[1]}"
    expected = "<s>[问]>" if template else around[0] + "问\n"
    for prompt in (encoder.encode_prompt("问", 100), encoder.encode_prompts(["问"], 100)[0][0]):
        assert encoder.tokenizer.decode(prompt) == expected
    assert encoder.tokenizer.decode(encoder.encode_completion("答")).endswith("答</s>")
    assert "<s>" not in encoder.tokenizer.decode(encoder.encode_completion("答"))


@pytest.mark.parametrize("pattern", ["%d %b %Y", "%Y-%m-%d", "%A, %B %d, %Y %H:%M:%S", "%-d.%-m.%y (%a, %j)"])
def test_a_template_that_writes_todays_date_does_not_depend_on_the_day(make: Make, pattern: str, caplog: Any) -> None:
    """Expected values: strftime itself."""
    kind = KINDS["llama-3"]
    encoder = make(replace(kind, template=str(kind.template).replace("%d %b %Y", pattern)))
    day = datetime.datetime(2024, 7, 26)
    assert f"Today Date: {day.strftime(pattern)}\n\n<|eot_id|>" in encoder.tokenizer.decode(
        encoder.encode_prompt("问", 500)
    )
    said = [record.getMessage() for record in caplog.records if "today's date" in record.getMessage()]
    assert len(said) == 1 and "always told 26 Jul 2024" in said[0]


_OPENS = str(CHATML.template).replace("'<|im_start|>assistant\\n' }}", "'<|im_start|>assistant\\n<think>\\n' }}")
_ANSWERED = "{%- if m.role == 'assistant' %}{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' + m.content + "
_CLOSES = _OPENS.replace("{{- '<|im_start|>' + m", _ANSWERED + "'<|im_end|>\\n' }}{% else %}{{- '<|im_start|>' + m")
_CLOSES = _CLOSES.replace("{%- endfor %}", "{%- endif %}{%- endfor %}")
_NO_HEADER = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}{% endfor %}"


@pytest.mark.parametrize(
    ("template", "prompt_end", "completion", "note"),
    [
        (_OPENS, "assistant\n<think>\n", "x<|im_end|>", "are not a prefix of that rendering"),
        (_CLOSES, "assistant\n<think>\n", "\n</think>\n\nx<|im_end|>", None),
        (_NO_HEADER, "问<|im_end|>\n<|im_start|>assistant\n", "x<|im_end|>", "has no generation prompt"),
        (
            "{% for m in messages %}{{ m.role }}: {{ m.content }} END\n{% endfor %}"
            "{% if add_generation_prompt %}assistant:{% endif %}",
            "assistant:",
            " x<|endoftext|>",
            "' END",
        ),
        ("{{ messages[0].content }}>", "问>", "x<|endoftext|>", "does not render an answer"),
    ],
)
def test_a_generation_prompt_that_is_not_the_renderings(
    make: Make, template: str, prompt_end: str, completion: str, note: str | None, caplog: Any
) -> None:
    """Reasoning marks that only one of the two writes, no header, no end: used as far as possible, with a warning."""
    encoder = make(replace(CHATML, template=template))
    assert encoder.tokenizer.decode(encoder.encode_prompt("问", 100)).endswith(prompt_end)
    assert encoder.tokenizer.decode(encoder.encode_completion("x")) == completion
    assert encoder.decode([encoder.encode_completion("x")]) == ["x"]
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    notes = [line for line in said if "the chat template" in line and "add it to eos_token_id" not in line]
    assert (note is None) == (not notes) and all(str(note) in line for line in notes)


def test_the_signature_covers_what_templates_are_given(make: Make) -> None:
    """The same tokenizer, template and end token, but other variables of the template."""
    kind = KINDS["llama-3"]
    first, second = make(kind), make(replace(kind, bos="<|end_of_text|>"))
    assert first.tokenizer._tokenizer.to_str() == second.tokenizer._tokenizer.to_str()
    assert first.encode_prompt("问", 500) != second.encode_prompt("问", 500)
    assert first.signature() != second.signature() and first.signature() == make(kind).signature()


def test_a_tokenizer_that_splits_special_tokens_keeps_the_templates_own(make: Make) -> None:
    encoder = make(CHATML)
    expected = encoder.encode_prompt("问", 100)
    encoder.tokenizer.split_special_tokens = True
    for prompt in (encoder.encode_prompt("问", 100), encoder.encode_prompts(["问"], 100)[0][0]):
        assert prompt == expected and encoder.tokenizer.convert_tokens_to_ids("<|im_start|>") in prompt
