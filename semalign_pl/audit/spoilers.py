"""Damaged and spoiled texts in any language, for the audit of rewards: pure functions of a seed and a text.

A *draft* is a reference of which a share of the words is missing or wrong: what an honest, imperfect policy writes. A
*spoiler* makes a draft worse in one way that a policy can learn. Words are the units of the language
(``Language.segment``). toy/corruption.py has the corruptions that the miniature world's encoder is trained on: they
know Tibetan, and say how much meaning is left.
"""

from __future__ import annotations

import random
import unicodedata
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import regex

from semalign_pl.languages.language import Language

MIN_UNITS = 4
"""Number of words below which half and a quarter of the words are the same number."""
FOREIGN = (
    "All human beings are born free and equal in dignity and rights.",
    "人人生而自由，在尊严和权利上一律平等。",
)
"""Article 1 of the Universal Declaration of Human Rights, for tasks whose source is in the language of the answer."""


@dataclass(frozen=True)
class Pieces:
    """Text cut into units and the separators that follow them.

    Attributes:
        before: Characters before the first unit.
        units: Units of the language, in order.
        gaps: Characters between each unit and the next one.
    """

    before: str
    units: list[str]
    gaps: list[str]

    @property
    def words(self) -> list[int]:
        """Indices of the units that have a letter or a digit; the others are punctuation."""
        return [index for index, unit in enumerate(self.units) if any(map(str.isalnum, unit))]

    @property
    def gap(self) -> str:
        """Commonest separator between two words."""
        between = [self.gaps[index] for index in self.words if index + 1 in set(self.words)]
        return Counter(between).most_common(1)[0][0] if between else ""

    def text(self, kept: list[int] | None = None) -> str:
        """Text of some units with the separators that follow them.

        Args:
            kept: Indices of the units; ``None`` for all.
        """
        kept = list(range(len(self.units))) if kept is None else kept
        return (self.before + "".join(self.units[i] + self.gaps[i] for i in kept)).strip()


def cut(text: str, language: Language) -> Pieces:
    """Cut a text into units and separators, in NFC.

    Args:
        text: Text in any script.
        language: Language whose units are used.
    """
    text, starts, end = unicodedata.normalize("NFC", text), [], 0
    units = language.segment(text)
    for unit in units:
        starts.append(text.index(unit, end))
        end = starts[-1] + len(unit)
    ends = [start + len(unit) for start, unit in zip(starts, units, strict=True)]
    gaps = [text[end:start] for end, start in zip(ends, [*starts, len(text)][1:], strict=True)]
    return Pieces(text[: starts[0]] if starts else text, units, gaps)


def draft(rng: random.Random, text: str, other: str, share: float, language: Language) -> str:
    """Text of which a share of the words is wrong: half of these are left out, half replaced by another text's words.

    Args:
        rng: Random numbers.
        text: Reference.
        other: Reference of another row, whose words replace this one's.
        share: Share of the words that are damaged; at least one is.
        language: Language of both texts.
    """
    pieces, donors = cut(text, language), cut(other, language)
    words, replacements = pieces.words, [donors.units[i] for i in donors.words]
    chosen = rng.sample(words, min(len(words), max(1, round(share * len(words)))))
    dropped = set(chosen[::2]) if replacements else set(chosen)
    units = [rng.choice(replacements) if i in set(chosen) - dropped else u for i, u in enumerate(pieces.units)]
    kept = [i for i in range(len(units)) if i not in dropped]
    return Pieces(pieces.before, units, pieces.gaps).text(kept)


@dataclass(frozen=True)
class Row:
    """Texts of one row that a spoiler may use.

    Attributes:
        pieces: Draft to spoil.
        source: Source of the row; blank if it has none.
        other: Reference of another row.
        language: Language of the draft.
    """

    pieces: Pieces
    source: str
    other: str
    language: Language


def drop_clause(rng: random.Random, row: Row) -> str | None:
    """Leave out one clause: the words up to a sign of punctuation, or a third of the words if there is one clause."""
    words = set(row.pieces.words)
    clauses: list[list[int]] = [[]]
    for index in range(len(row.pieces.units)):
        if index in words and clauses[-1] and clauses[-1][-1] not in words:
            clauses.append([])
        clauses[-1].append(index)
    clauses = [clause for clause in clauses if words & set(clause)]
    if len(clauses) > 1:
        gone = set(rng.choice(clauses))
    else:
        run = max(1, len(words) // 3)
        start = rng.randrange(len(words) - run + 1)
        gone = set(row.pieces.words[start : start + run])
    return row.pieces.text([i for i in range(len(row.pieces.units)) if i not in gone])


def change_digit(rng: random.Random, row: Row) -> str | None:
    """Change one digit, in its own script; ``None`` without digits."""
    text = row.pieces.text()
    places = [match.start() for match in regex.finditer(r"\p{Nd}", text)]
    if not places:
        return None
    place = rng.choice(places)
    value = unicodedata.decimal(text[place])
    wrong = rng.choice([digit for digit in range(10) if digit != value])
    return text[:place] + chr(ord(text[place]) - value + wrong) + text[place + 1 :]


def copy_source(rng: random.Random, row: Row) -> str | None:
    """Copy the source; ``None`` if there is none."""
    return row.source.strip() or None


def switch_language(rng: random.Random, row: Row) -> str | None:
    """Write the second half in another language: the source's, or English or Chinese if the source is in this one."""
    texts = [text for text in (row.source, *FOREIGN) if text.strip() and row.language.share(text) < 0.5]
    if not texts:
        return None
    half = row.pieces.text(list(range(len(row.pieces.units) // 2)))
    return f"{half} {texts[0][len(texts[0]) // 2 :]}".strip()


def shuffle_words(rng: random.Random, row: Row) -> str | None:
    """Shuffle the words; punctuation keeps its places. ``None`` if all words are equal."""
    words = row.pieces.words
    units = list(row.pieces.units)
    for place, word in zip(words, rng.sample(words, len(words)), strict=True):
        units[place] = row.pieces.units[word]
    text = Pieces(row.pieces.before, units, row.pieces.gaps).text()
    return text if text != row.pieces.text() else None


def repeat_words(rng: random.Random, row: Row) -> str | None:
    """Repeat one to three words until the text is twice as long."""
    words, gap = row.pieces.words, row.pieces.gap
    start = rng.randrange(len(words))
    run = [row.pieces.units[i] for i in words[start : start + rng.randint(1, 3)]]
    times = -(-len(words) // len(run))
    return gap.join([row.pieces.text().rstrip(), *run * times])


def add_text(rng: random.Random, row: Row) -> str | None:
    """Add another row's reference: fluent text that says what the source does not."""
    return f"{row.pieces.text()} {row.other.strip()}" if row.other.strip() else None


def stop_early(rng: random.Random, row: Row) -> str | None:
    """Stop after a third of the words."""
    words = row.pieces.words
    return row.pieces.text(list(range(words[max(1, len(words) // 3) - 1] + 1)))


SPOILERS: dict[str, Callable[[random.Random, Row], str | None]] = {
    "copied_source": copy_source,
    "other_language": switch_language,
    "shuffled_words": shuffle_words,
    "repeated": repeat_words,
    "longer": add_text,
    "shorter": stop_early,
    "dropped_clause": drop_clause,
    "wrong_number": change_digit,
}
"""Functions from random numbers and a row to the spoiled draft, or to ``None`` where a spoiler does not apply."""


def spoil(rng: random.Random, name: str, text: str, source: str, other: str, language: Language) -> str | None:
    """Spoil a draft.

    Args:
        rng: Random numbers.
        name: Name of the spoiler, a key of ``SPOILERS``.
        text: Draft.
        source: Source of the row.
        other: Reference of another row.
        language: Language of the draft.

    Returns:
        Spoiled text; ``None`` if the spoiler does not apply, or would change nothing.
    """
    pieces = cut(text, language)
    spoiled = SPOILERS[name](rng, Row(pieces, source, other, language)) if pieces.words else None
    return None if spoiled is None or spoiled == pieces.text() else spoiled
