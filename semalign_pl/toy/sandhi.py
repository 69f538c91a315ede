"""Tibetan case particles: their forms, depending on the preceding syllable."""

from __future__ import annotations

TSHEG = "\u0f0b"
SHAD = "\u0f0d"
_A_CHUNG = "\u0f60"


def final(word: str) -> str:
    """Suffix letter at the end of a word, or ``""`` after a vowel (an a-chung suffix counts as a vowel).

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
    """Append a one-letter ending to an open syllable; it replaces an a-chung suffix."""
    word = word.rstrip(TSHEG)
    syllable = word.rsplit(TSHEG, 1)[-1]
    return (word[:-1] if len(syllable) > 1 and word.endswith(_A_CHUNG) else word) + ending


def _genitive_particle(suffix: str) -> str:
    """Free form of the genitive after a suffix letter."""
    if suffix in "དབས":
        return "ཀྱི"
    return "གི" if suffix in "གང" else "གྱི"


def genitive(word: str) -> str:
    """Genitive of a word, with གི / ཀྱི / གྱི / འི, without a tsheg at the end."""
    suffix = final(word)
    return f"{word}{TSHEG}{_genitive_particle(suffix)}" if suffix else _fuse(word, "འི")


def ergative(word: str) -> str:
    """Ergative of a word, with གིས / ཀྱིས / གྱིས / ས, without a tsheg at the end."""
    suffix = final(word)
    return f"{word}{TSHEG}{_genitive_particle(suffix)}ས" if suffix else _fuse(word, "ས")


def ladon(word: str) -> str:
    """Word with the particle of goals སུ / ཏུ / དུ / ར, without a tsheg at the end."""
    suffix = final(word)
    if not suffix:
        return _fuse(word, "ར")
    particle = "སུ" if suffix == "ས" else "ཏུ" if suffix in "གབ" else "དུ"
    return f"{word}{TSHEG}{particle}"


def dative(word: str) -> str:
    """Dative of a word, with ལ, which has only one form."""
    return f"{word}{TSHEG}ལ"


def source(word: str) -> str:
    """Word with ནས, which marks the place of an action."""
    return f"{word}{TSHEG}ནས"


def nominal(verb: str) -> str:
    """Past stem of a verb with the nominaliser: བ after ང, ར, ལ and vowels, otherwise པ."""
    return f"{verb}{TSHEG}{'པ' if final(verb) in tuple('གདནབམས') else 'བ'}"


def connective(verb: str) -> str:
    """Present stem of a verb with གི / ཀྱི / གྱི, as before ཡོད་པ་རེད and རེད; གི after a vowel."""
    suffix = final(verb)
    return f"{verb}{TSHEG}{_genitive_particle(suffix) if suffix else 'གི'}"


def shad(text: str) -> str:
    """End a clause with a shad: a tsheg is kept between ང and the shad, and after a final ག there is no shad."""
    suffix = final(text)
    if suffix == "ག":
        return text
    return f"{text}{TSHEG if suffix == 'ང' else ''}{SHAD}"
