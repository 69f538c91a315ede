"""Tibetan case particles: which form follows which syllable."""

from __future__ import annotations

TSHEG = "\u0f0b"
SHAD = "\u0f0d"
_A_CHUNG = "\u0f60"


def final(word: str) -> str:
    """The suffix letter that ends a word, or ``""`` after a vowel (an a-chung suffix counts as a vowel).

    Examples:
        >>> final("བཀྲ་ཤིས"), final("ཚེ་རིང"), final("སྒྲོལ་མ"), final("མཁའ")
        ('ས', 'ང', '', '')
    """
    syllable = word.strip(TSHEG).rsplit(TSHEG, 1)[-1]
    bases = [letter for letter in syllable if "\u0f40" <= letter <= "\u0f6c"]
    last = syllable[-1:]
    closed = len(bases) > 1 and last == bases[-1] and last != _A_CHUNG
    return last if closed else ""


def _fuse(word: str, ending: str) -> str:
    """Write a one-letter ending onto an open syllable; an a-chung suffix gives way to it."""
    word = word.rstrip(TSHEG)
    syllable = word.rsplit(TSHEG, 1)[-1]
    return (word[:-1] if len(syllable) > 1 and word.endswith(_A_CHUNG) else word) + ending


def _genitive_particle(suffix: str) -> str:
    """The free form of the genitive after a suffix letter."""
    if suffix in "དབས":
        return "ཀྱི"
    return "གི" if suffix in "གང" else "གྱི"


def genitive(word: str) -> str:
    """``word`` with གི / ཀྱི / གྱི / འི, no tsheg at the end."""
    suffix = final(word)
    return f"{word}{TSHEG}{_genitive_particle(suffix)}" if suffix else _fuse(word, "འི")


def ergative(word: str) -> str:
    """``word`` with གིས / ཀྱིས / གྱིས / ས, no tsheg at the end."""
    suffix = final(word)
    return f"{word}{TSHEG}{_genitive_particle(suffix)}ས" if suffix else _fuse(word, "ས")


def ladon(word: str) -> str:
    """``word`` with སུ / ཏུ / དུ / ར, no tsheg at the end."""
    suffix = final(word)
    if not suffix:
        return _fuse(word, "ར")
    particle = "སུ" if suffix == "ས" else "ཏུ" if suffix in "གབ" else "དུ"
    return f"{word}{TSHEG}{particle}"


def dative(word: str) -> str:
    """``word`` with ལ, the form of the dative that never changes."""
    return f"{word}{TSHEG}ལ"


def source(word: str) -> str:
    """``word`` with ནས, which marks where an action takes place."""
    return f"{word}{TSHEG}ནས"


def nominal(verb: str) -> str:
    """The past stem with the nominaliser: བ after ང, ར, ལ and vowels, པ elsewhere."""
    return f"{verb}{TSHEG}{'པ' if final(verb) in tuple('གདནབམས') else 'བ'}"


def connective(verb: str) -> str:
    """The present stem with གི / ཀྱི / གྱི, as before ཡོད་པ་རེད and རེད; after a vowel it is written གི."""
    suffix = final(verb)
    return f"{verb}{TSHEG}{_genitive_particle(suffix) if suffix else 'གི'}"


def shad(text: str) -> str:
    """Close a clause: a tsheg stays between ང and the shad, and a final ག stands without one."""
    suffix = final(text)
    if suffix == "ག":
        return text
    return f"{text}{TSHEG if suffix == 'ང' else ''}{SHAD}"
