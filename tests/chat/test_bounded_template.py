"""Chat templates that would take days or all memory end in one line within seconds; all others behave as before."""

from __future__ import annotations

import copy
import time
from typing import Any

import pytest

from semalign_pl.chat import bounded_template
from semalign_pl.chat.bounded_template import TemplateLimitError, compile_template, render_chat
from semalign_pl.chat.find_format import find_chat
from semalign_pl.rewards import RerankerReward

LOOP = "{% for i in range(99999) %}"
BOMBS = {
    "nested loops": LOOP * 3 + "{% endfor %}" * 3,
    "nested loops of text": LOOP * 2 + "x" * 1000 + "{% endfor %}" * 2,
    "nested loops within a macro": f"{{% macro m() %}}{LOOP * 2}x{'{% endfor %}' * 2}{{% endmacro %}}{{{{ m() }}}}",
    "loops over a filter": "{% for i in range(99999)|list|sort|unique %}" + LOOP * 2 + "{% endfor %}" * 3,
    "loops without a body, filtered": "{% for i in range(99999) if i < 0 %}{% endfor %}" * 2000,
    "a macro that calls itself": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
    "a macro that calls itself twice": "{% macro m(n) %}{% if n %}{{ m(n-1) }}{{ m(n-1) }}{% endif %}{% endmacro %}"
    "{{ m(60) }}",
    "a recursive loop": "{% for i in [[1]] * 9 recursive %}{{ loop([[1]] * 9) }}{% endfor %}",
    "a block that writes itself": "{% block a %}{{ self.a() }}{{ self.a() }}{% endblock %}",
    "caller": "{% macro m() %}"
    + LOOP
    + "{{ caller() }}{% endfor %}{% endmacro %}{% call m() %}"
    + "x" * 9999
    + "{% endcall %}",
    "text times a number": "{{ 'x' * 10**10 }}",
    "list times a number": "{{ [1] * 10**10 }}",
    "list of one text many times": "{% set l = ['x' * 99999] * 99999 %}{{ l }}",
    "the same, joined": "{{ (['x' * 99999] * 99999)|join }}",
    "the same, joined by a method": "{{ ''.join(['x' * 99999] * 99999) }}",
    "the same as JSON": "{{ (['x' * 99999] * 99999)|tojson }}",
    "power": "{{ 10 ** (10 ** 10) }}",
    "power by steps": "{% set ns = namespace(n=3) %}" + LOOP + "{% set ns.n = ns.n * ns.n %}{% endfor %}",
    "doubling by ~": "{% set ns = namespace(t='x') %}" + LOOP + "{% set ns.t = ns.t ~ ns.t %}{% endfor %}",
    "doubling by +": "{% set ns = namespace(t='x') %}" + LOOP + "{% set ns.t = ns.t + ns.t %}{% endfor %}",
    "doubling a list": "{% set ns = namespace(t=[1]) %}" + LOOP + "{% set ns.t = ns.t + ns.t %}{% endfor %}",
    "width of a format": "{{ '%9999999999d' % 1 }}",
    "width as an argument": "{{ '%*d' % (9999999999, 1) }}",
    "width of format()": "{{ '{:9999999999}'.format(1) }}",
    "width within a width": "{{ '{:{}}'.format(1, 9999999999) }}",
    "the same text often in a format": "{{ ('{0}' * 9999).format('x' * 99999) }}",
    "center": "{{ 'x'|center(9999999999) }}",
    "ljust": "{{ 'x'.ljust(9999999999) }}",
    "zfill": "{{ '1'.zfill(9999999999) }}",
    "expandtabs": "{{ ('\t' * 99999).expandtabs(99999) }}",
    "replace": "{{ ('x' * 99999)|replace('x', 'y' * 99999) }}",
    "replace by a method": "{{ ('x' * 99999).replace('', 'y' * 99999) }}",
    "indent": "{{ ('\n' * 99999)|indent(99999) }}",
    "indented JSON": "{{ ([1] * 99999)|tojson(indent=99999) }}",
    "slice": "{{ [1]|slice(9999999999)|list }}",
    "batch": "{{ [1]|batch(9999999999, 2)|list }}",
    "round": "{{ 1|round(9999999999) }}",
    "lipsum": "{{ lipsum(9999999999) }}",
    "a long template": "x" * 300_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_is_refused_soon(name: str, tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_template, "MAX_SECONDS", 0.3)
    hostile = copy.deepcopy(tokenizer)
    hostile.chat_template = BOMBS[name] + "{{ messages[0].content }}"
    began = time.process_time()
    with pytest.raises(ValueError, match="model.init_args.base: the chat template .* give a base whose template"):
        find_chat(hostile)
    assert time.process_time() - began < 5


def test_a_bomb_that_waits_for_a_row_ends_the_run(tokenizer: Any) -> None:
    hostile = copy.deepcopy(tokenizer)
    hostile.chat_template = (
        "{% if 'now' in messages[0].content %}{{ 'x' * 10**10 }}{% endif %}" + tokenizer.chat_template
    )
    chat = find_chat(hostile)
    assert "later" in chat.text("later")
    with pytest.raises(
        ValueError, match="model.init_args.base: the chat template is out of bounds: it makes more than"
    ):
        chat.text("now")


def test_of_a_judge(tokenizer: Any, base: str) -> None:
    reward = RerankerReward(base)
    reward.tokenizer = copy.deepcopy(tokenizer)
    reward.tokenizer.chat_template = BOMBS["nested loops of text"]
    with pytest.raises(ValueError, match="RerankerReward.judge: the chat template of .* is out of bounds"):
        reward._frame()


HARMLESS = [
    "{% for m in messages %}{{ loop.index }}{{ '[' ~ m.role|upper ~ ']' }}{{ m.content|trim }}{{ '\n' }}{% endfor %}",
    "{{ bos_token }}{% set ns = namespace(n=0) %}{% for m in messages if m.role %}{% set ns.n = ns.n + 1 %}{% endfor %}"
    "{{ ns.n }}",
    "{{ messages|tojson }}{{ messages|map(attribute='role')|join(', ') }}{{ messages|length * 2 ** 3 % 5 }}",
    "{% macro m(x) %}<{{ x }}{{ caller() }}>{% endmacro %}{% call m('a') %}b{% endcall %}{{ '%s-%05.1f' % ('a', 2) }}",
    "{% generation %}{{ messages[-1]['content'] }}{% endgeneration %}{% if add_generation_prompt %}!{% endif %}",
    "{% for m in messages %}{% if loop.first %}{% continue %}{% endif %}{{ m.content.split('x')[0].strip() }}"
    "{% break %}{% endfor %}",
    "{{ 'a'.center(9) }}{{ 'b'|indent(4) }}{{ 'x,y'.replace(',', ';') }}{{ '{}{:>4}'.format(1, 2) }}{{ tools }}",
    "{{ messages[1:][::-1][0].content }}{{ enable_thinking|default('unset') }}{{ 1 ~ none ~ 2.5 ~ [1, 'a'] }}",
]


@pytest.mark.parametrize("source", HARMLESS)
@pytest.mark.parametrize("generation", [True, False])
def test_others_are_rendered_as_transformers_does(source: str, generation: bool, tokenizer: Any) -> None:
    messages = [{"role": "user", "content": " སློབ་མ x\n"}, {"role": "assistant", "content": "{{ 'no code' }}"}]
    options = {"add_generation_prompt": generation, "enable_thinking": False}
    theirs = tokenizer.apply_chat_template(messages, chat_template=source, tokenize=False, **options)
    assert render_chat(tokenizer, messages, source, **options) == theirs


def test_a_long_conversation_is_within_the_limits(tokenizer: Any) -> None:
    messages = [{"role": role, "content": "ཀ" * 2000} for role in ("user", "assistant") * 500]
    began = time.process_time()
    text = render_chat(tokenizer, messages)
    assert text == tokenizer.apply_chat_template(messages, tokenize=False) and time.process_time() - began < 2


def test_limits_are_those_of_one_rendering() -> None:
    template = compile_template("{{ 'x' * n }}")
    for _ in range(3):
        template.environment.start()  # type: ignore[attr-defined]
        assert len(template.render(n=bounded_template.MAX_CHARACTERS // 3)) == bounded_template.MAX_CHARACTERS // 3
    with pytest.raises(TemplateLimitError):
        template.render(n=bounded_template.MAX_CHARACTERS // 3)
