"""Drafts and spoilers: by hand in scripts with and without spaces, seeded, and in every shipped language."""

from __future__ import annotations

import random
import unicodedata
from itertools import islice

import pytest

from semalign_pl.audit.groups import DRAFTS, LEVELS, make_group, make_groups
from semalign_pl.audit.spoilers import MIN_UNITS, SPOILERS, cut, draft, spoil
from semalign_pl.languages import get_language
from semalign_pl.languages.read import language_codes
from semalign_pl.types import Example

EN, BO, ZH = map(get_language, ("en", "bo", "zh"))
TEXT = "In 1959 the old teacher went home, and his pupils stayed."


def spoiled(
    name: str, text: str = TEXT, source: str = "一九五九年老师回家了。", language=EN, seed: int = 0
) -> str | None:
    return spoil(random.Random(seed), name, text, source, "Nobody read the letter.", language)


@pytest.mark.parametrize(
    ("text", "language"),
    [(TEXT, EN), ("  བོད་ཡིག་ ། གཉིས།", BO), ("老师 在学校，看书。", ZH), ("ภาษาไทย 12 คำ", get_language("th")), ("", EN)],
)
def test_pieces_are_the_whole_text(text, language) -> None:
    pieces = cut(text, language)
    assert pieces.units == language.segment(text)
    joined = "".join(unit + gap for unit, gap in zip(pieces.units, pieces.gaps, strict=True))
    assert pieces.before + joined == text


def test_by_hand() -> None:
    assert spoiled("copied_source") == "一九五九年老师回家了。"
    assert spoiled("copied_source", source=" ") is None
    assert spoiled("other_language") == "In 1959 the old teacher went 老师回家了。"
    assert spoiled("longer") == f"{TEXT} Nobody read the letter."
    assert spoiled("shorter") == "In 1959 the"  # 3 of 11 words
    assert spoiled("dropped_clause") in ("In 1959 the old teacher went home,", "and his pupils stayed.")
    assert {spoiled("wrong_number", seed=seed)[:8] for seed in range(200)} == {
        f"In {wrong:04} "
        for place, digit in zip((1000, 100, 10, 1), (1, 9, 5, 9), strict=True)
        for other in range(10)
        if other != digit
        for wrong in [1959 + (other - digit) * place]
    }
    assert spoiled("wrong_number", "no digits here at all") is None
    assert spoiled("shuffled_words", "so so so so") is None


def test_a_source_in_the_language_of_the_answer_is_followed_by_another_language() -> None:
    text = spoiled("other_language", source="The old teacher went home in 1959.")
    assert text is not None and text.startswith("In 1959 the old teacher went ") and ZH.share(text) > 0.4


def test_digits_keep_their_script() -> None:
    text = spoiled("wrong_number", "ལོ་༡༩༥༩་ལ་ཡོང་།", language=BO)
    assert text is not None and BO.is_consistent(text) and text != "ལོ་༡༩༥༩་ལ་ཡོང་།"


def test_shuffling_keeps_the_words_and_the_punctuation() -> None:
    text = spoiled("shuffled_words")
    assert text is not None and text != TEXT
    assert sorted(EN.segment(text)) == sorted(EN.segment(TEXT)) and text[-1] == "." and text.count(",") == 1


def test_repetition_doubles_the_number_of_words() -> None:
    text = spoiled("repeated", "one two three four five six")
    assert text is not None and text.startswith("one two three four five six ")
    added = text.split()[6:]
    assert 6 <= len(added) <= 8 and len(set(added)) <= 3


@pytest.mark.parametrize("share", LEVELS[1:])
def test_a_draft_has_the_share_of_wrong_words(share) -> None:
    words = [f"w{i}" for i in range(40)]
    made = draft(random.Random(1), " ".join(words), "x y z", share, EN).split()
    replaced = [word for word in made if word not in words]
    dropped = 40 - len(made)
    assert dropped + len(replaced) == 40 * share and dropped == len(replaced) and set(replaced) <= {"x", "y", "z"}


@pytest.mark.parametrize("code", sorted(language_codes()))
def test_every_language_has_drafts_and_spoilers(code) -> None:
    language = get_language(code)
    alone = (c for c in map(chr, range(0x41, 0x20000)) if unicodedata.category(c) in ("Lo", "Ll", "Lu"))
    letters = list(islice((c for c in alone if language.has_letter(c) and language.segment(c) == [c]), 12))
    join = next(gap for gap in ("", " ", "་") if language.segment(gap.join(letters)) == letters)
    text = join.join(letters)
    group = make_group(Example("r", "?", text, {}, "Nobody 看书。"), join.join(letters[::-1]), language, seed=0)
    names = {name for name, level in group.texts if level == 0.0}
    assert names == {DRAFTS[0], *SPOILERS} - {"wrong_number"}
    for (name, level), made in group.texts.items():
        if name not in ("copied_source", "other_language"):
            assert language.share(made) == 1.0, (name, level, made)


def test_the_seed_decides() -> None:
    rows = [(Example(f"r:{i}", "?", f"{i} the old teacher went home", {}, "老师回家。"), EN) for i in range(30)]
    rows.append((Example("short", "?", "too short", {}, "短"), EN))
    first, again, other = (make_groups(rows, seed, 40) for seed in (0, 0, 1))
    assert first == again and first != other and len(first) == 30 and MIN_UNITS > 2
    assert len(make_groups(rows, 0, 7)) == 7 and make_groups(rows, 0, 7)[0].example == first[0].example
