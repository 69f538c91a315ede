"""Corrupted Tibetan, such as a failing policy generates, with the share of the meaning that is left.

Each corruption takes the random numbers, the syllables of a Tibetan sentence and the same sentence in Chinese. It
returns the corrupted text and its similarity to the sentence, 0 to 1.
"""

from __future__ import annotations

import random
from collections.abc import Callable

from semalign_pl.toy.sandhi import TSHEG

PARTICLES = frozenset("གིས ཀྱིས གྱིས གི ཀྱི གྱི ནས ལ སུ ཏུ དུ".split())
NOISE = "abc XYZ 0123 😀 é ß Ω ж か 한 ༄༅ ་ ། \ufffd …"


def _join(syllables: list[str]) -> str:
    return TSHEG.join(syllables)


def _some(rng: random.Random, share: float, syllables: list[str]) -> list[str]:
    return [s for s in syllables if rng.random() >= share]


def drop(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Leave out random syllables."""
    kept = _some(rng, rng.uniform(0.1, 0.6), syllables)
    return _join(kept), 0.9 * (len(kept) / len(syllables)) ** 1.5


def shuffle(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Shuffle all syllables."""
    return _join(rng.sample(syllables, len(syllables))), 0.1


def truncate(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Keep only the beginning."""
    kept = syllables[: rng.randint(1, max(1, len(syllables) - 2))]
    return _join(kept), 0.9 * (len(kept) / len(syllables)) ** 1.5


def repeat(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Repeat one to three syllables many times, without the rest."""
    start, width = rng.randrange(len(syllables)), rng.randint(1, 3)
    return _join(syllables[start : start + width] * rng.randint(4, 15)), 0.05


def repeat_tail(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Repeat the end of the sentence many times."""
    return _join(syllables + syllables[-rng.randint(1, 4) :] * rng.randint(3, 10)), 0.3


def twice(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Repeat the whole sentence, two to four times in all."""
    return " ".join([_join(syllables)] * rng.randint(2, 4)), 0.4


def particles(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Leave out the free case particles."""
    kept = [s for s in syllables if s not in PARTICLES]
    return _join(kept), 0.85 if len(kept) < len(syllables) else 1.0


def mix(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Mix a Tibetan beginning, or the whole sentence, with Chinese."""
    cut, at = rng.randint(1, len(syllables) - 1), rng.randint(1, len(zh) - 1)
    halves = [_join(syllables[:cut]), zh[at:]] if rng.random() < 0.7 else [_join(syllables), zh]
    return "".join(halves if rng.random() < 0.7 else halves[::-1]), 0.25


def salad(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Draw random syllables of the sentence, with repetition."""
    return _join(rng.choices(syllables, k=rng.randint(3, 20))), 0.05


def noise(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Write random characters, mostly of other scripts, alone or after the sentence."""
    junk = "".join(rng.choices(NOISE, k=rng.randint(1, 25)))
    return (junk, 0.0) if rng.random() < 0.5 else (_join(syllables) + junk, 0.5)


def empty(rng: random.Random, syllables: list[str], zh: str) -> tuple[str, float]:
    """Write nothing, or a single mark or white space."""
    return rng.choice(["", "།", " ", "་", "\n"]), 0.0


CORRUPTIONS: dict[str, Callable[[random.Random, list[str], str], tuple[str, float]]] = {
    f.__name__: f for f in (drop, shuffle, truncate, repeat, repeat_tail, twice, particles, mix, salad, noise, empty)
}


def corrupt(rng: random.Random, name: str, bo: str, zh: str) -> tuple[str, float]:
    """Corrupt a Tibetan sentence.

    Args:
        rng: Random numbers.
        name: Name of the corruption, a key of ``CORRUPTIONS``.
        bo: Tibetan sentence.
        zh: Same sentence in Chinese.

    Returns:
        Corrupted text, and its similarity to ``bo``, 0 to 1.
    """
    return CORRUPTIONS[name](rng, bo.split(TSHEG), zh)
