"""Tibetan words (by botok) and Wylie (by pyewts), both from the extra ``tibetan``.

Normal form and syllables are data, in ``languages.yaml``: see ``get_language("bo").normalise`` and ``.segment``.
"""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Protocol

import regex

TSHEGS = "\u0f0b\u0f0c"
DEFAULT_PACK = Path("Documents", "pybo", "dialect_packs", "general")
"""Folder of botok's dialect pack, in the home folder."""

_HARMLESS = "No Tibetan characters found!"
_APOSTROPHE = regex.compile(r"\[(?:\\.|[^\]\\])*\](*SKIP)(*FAIL)|[‘’ʼʾ]")
"""Characters typed instead of a-chung's ``'``, outside brackets."""


def words(text: str, pack: str | Path | None = None) -> list[str]:
    """Words and punctuation of ``text`` by botok, with affixed particles separate; without final tshegs and spaces.

    Args:
        text: Tibetan text, in any spelling that botok knows.
        pack: Folder of a dialect pack (``dictionary/`` and ``adjustments/``); by default botok's own folder. Nothing is
            downloaded. botok writes its cache next to the folder, as ``NAME_trie.pickled``; it is never read here, as a
            pickle can run any code. So each process reads the pack again, once: 20 seconds for 60,000 words.

    Raises:
        ValueError: If botok or the pack is missing; names the remedy.
    """
    folder = Path.home() / DEFAULT_PACK if pack is None else Path(pack)
    tokens = _tokenizer(folder.resolve()).tokenize(text)
    return [word for token in tokens if (word := token.text.strip().rstrip(TSHEGS))]


def to_wylie(text: str) -> str:
    r"""Extended Wylie (EWTS) of Tibetan; other text is in square brackets, a sign on its own is ``\u0f72``.

    Raises:
        ValueError: If pyewts is missing.
    """
    return _converter().toWylie(text, [])


def from_wylie(text: str) -> str:
    """Tibetan, in NFC, from strict Extended Wylie (EWTS): a space is a tsheg, ``_`` a space, ``[...]`` is unchanged.

    Raises:
        ValueError: If pyewts finds no Tibetan spelling for a part, naming the part; or if pyewts is missing.
    """
    warnings: list[str] = []
    plain = _APOSTROPHE.sub("'", text)
    converted = _converter().toUnicode(plain, warnings, sloppy=False)
    if wrong := [warning for warning in warnings if warning != _HARMLESS]:
        raise ValueError(f"Wylie: {text[:40]!r}: {'; '.join(wrong)}; mend it, or put what is not Wylie in [ ]")
    return unicodedata.normalize("NFC", converted)


class _Converter(Protocol):
    """Converter of pyewts."""

    def toWylie(self, text: str, warnings: list[str]) -> str: ...  # noqa: N802
    def toUnicode(self, text: str, warnings: list[str], sloppy: bool) -> str: ...  # noqa: N802


class _Token(Protocol):
    """Word of botok."""

    text: str


class _Tokenizer(Protocol):
    """Tokenizer of botok."""

    def tokenize(self, text: str) -> list[_Token]: ...


@cache
def _converter() -> _Converter:
    return _library("pyewts", "Wylie").pyewts(fix_spacing=False)


@cache
def _tokenizer(folder: Path) -> _Tokenizer:
    botok = _library("botok", "words")
    if missing := [name for name in ("dictionary", "adjustments") if not (folder / name).is_dir()]:
        raise ValueError(
            f"pack: {folder} is no dialect pack of botok's, it has no folder {' and no '.join(missing)}; unpack one "
            "from https://github.com/Esukhia/botok-data there, or give the path of yours"
        )
    try:
        return botok.WordTokenizer(config=botok.Config.from_path(folder), build_trie=True)
    except OSError as error:
        raise ValueError(f"pack: {folder} cannot be read ({error}); botok needs it, and writes beside it") from error


def _library(name: str, purpose: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ValueError(f"{purpose}: {name} is not installed; run `pip install semalign-pl[tibetan]`") from error
