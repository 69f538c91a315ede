"""Styles and their parser: every sentence is read back, and no spoiled one passes as right."""

from __future__ import annotations

import random

import pytest

from semalign_pl.toy import generator, grammar
from semalign_pl.toy.corruption import CORRUPTIONS, corrupt
from semalign_pl.toy.grammar import Meaning
from semalign_pl.toy.parser import MIXED, parse, readings, style_of
from semalign_pl.toy.style import PLAIN, STYLES, Style, draw, tibetan

READS = Meaning("name", "扎西", "读", "书", "text", "两", "图书馆", "昨天")


@pytest.mark.parametrize(
    ("style", "text"),
    [
        (PLAIN, "ཁ་སང་བཀྲ་ཤིས་ཀྱིས་དཔེ་མཛོད་ཁང་ནས་དཔེ་ཆ་གཉིས་བཀླགས་པ་རེད།"),
        (Style(register="honorific"), "ཁ་སང་བཀྲ་ཤིས་ཀྱིས་དཔེ་མཛོད་ཁང་ནས་དཔེ་ཆ་གཉིས་བཀླགས་གནང་བ་རེད།"),
        (Style(words="synonym"), "ཁ་རྩང་བཀྲ་ཤིས་ཀྱིས་དཔེ་མཛོད་ཁང་ནས་དེབ་གཉིས་བཀླགས་པ་རེད།"),
        (Style(time="after_subject"), "བཀྲ་ཤིས་ཀྱིས་ཁ་སང་དཔེ་མཛོད་ཁང་ནས་དཔེ་ཆ་གཉིས་བཀླགས་པ་རེད།"),
        (Style(place="after_object"), "ཁ་སང་བཀྲ་ཤིས་ཀྱིས་དཔེ་ཆ་གཉིས་དཔེ་མཛོད་ཁང་ནས་བཀླགས་པ་རེད།"),
        (Style(ending="witnessed"), "ཁ་སང་བཀྲ་ཤིས་ཀྱིས་དཔེ་མཛོད་ཁང་ནས་དཔེ་ཆ་གཉིས་བཀླགས་སོང་།"),
    ],
)
def test_one_meaning_in_each_style(style: Style, text: str) -> None:
    assert tibetan(READS, style) == text
    assert style_of(text) == style


def test_every_sentence_is_read_back_and_has_one_reading() -> None:
    rng = random.Random(0)
    for number in range(10_000):
        meaning, style = generator.draw(rng, range(10)), draw(rng)
        text = tibetan(meaning, style)
        if number < 2_000:
            assert tibetan(meaning) == grammar.tibetan(meaning)
        (reading,) = readings(text)
        assert reading.meaning.key() == meaning.key(), text
        assert reading.style == style.shown_in(meaning), text


def test_no_spoiled_sentence_passes_as_right() -> None:
    rng = random.Random(1)
    spoiled = 0
    while spoiled < 1_000:
        meaning, style = generator.draw(rng, range(10)), draw(rng)
        right = {tibetan(meaning, one) for one in STYLES}
        text = tibetan(meaning, style)
        if rng.random() < 0.5:
            wrong = tibetan(generator.neighbour(rng, meaning), style)
        else:
            wrong = corrupt(rng, rng.choice(list(CORRUPTIONS)), text, grammar.chinese(meaning))[0]
        if wrong.strip() not in right:
            spoiled += 1
            reading = parse(wrong)
            assert reading is None or reading.meaning.key() != meaning.key(), (text, wrong)


def test_a_sentence_with_both_kinds_of_words_is_mixed() -> None:
    reading = parse("ཁ་རྩང་བཀྲ་ཤིས་ཀྱིས་དཔེ་ཆ་བཀླགས་པ་རེད།")
    assert reading is not None and reading.style.words == MIXED and reading.meaning.object == "书"
