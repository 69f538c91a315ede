"""Fonts of Tibetan and the commonest Chinese characters, cut to the characters of a page and embedded in it.

A bare Linux machine has neither script, and browsers then draw boxes. ``fonts/README.md`` says where the fonts are
from; the page repeats their licence, as it requires.
"""

from __future__ import annotations

import base64
import io
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files


@dataclass(frozen=True)
class ShippedFont:
    """One font file of the package.

    Attributes:
        file: Name of the file in ``fonts/``; its licence has the same name with ``.txt``.
        family: Name of the font in the page's stylesheet.
        title: Name of the font.
        range: CSS range of the characters that it is used for.
        pattern: Regex of those characters.
    """

    file: str
    family: str
    title: str
    range: str
    pattern: str


SHIPPED = (
    ShippedFont("NotoSerifTibetan.woff", "Page Tibetan", "Noto Serif Tibetan", "U+F00-FFF", "[\u0f00-\u0fff]"),
    ShippedFont(
        "NotoSansSC.woff",
        "Page Chinese",
        "Noto Sans SC",
        "U+3000-303F, U+3400-4DBF, U+4E00-9FFF, U+FF00-FFEF",
        "[\u3000-\u303f\u3400-\u4dbf\u4e00-\u9fff\uff00-\uffef]",
    ),
)


@dataclass(frozen=True)
class EmbeddedFonts:
    """Fonts of one page.

    Attributes:
        style: CSS with the font files; empty if the page has no character that needs them.
        licences: Name and licence of each embedded font.
        unembedded: Characters of those scripts that no embedded font has, sorted.
    """

    style: str
    licences: list[tuple[str, str]]
    unembedded: str


def embed_fonts(text: str) -> EmbeddedFonts:
    """Cut the shipped fonts to the characters of a text, with the shaping rules between them.

    Args:
        text: All texts of the page.
    """
    styles: list[str] = []
    licences: list[tuple[str, str]] = []
    unembedded: set[str] = set()
    folder = files("semalign_pl.report") / "fonts"
    for font in SHIPPED:
        used = frozenset(re.findall(font.pattern, text))
        if not used:
            continue
        content, covered = _cut((folder / font.file).read_bytes(), used)
        unembedded |= used - covered
        if covered:
            source = f"url(data:font/woff;base64,{base64.b64encode(content).decode('ascii')}) format('woff')"
            styles.append(
                f"@font-face {{ font-family: '{font.family}'; src: {source}; unicode-range: {font.range}; }}\n"
            )
            licence = (folder / font.file.replace(".woff", ".txt")).read_text(encoding="utf-8")
            licences.append((font.title, licence))
    return EmbeddedFonts("".join(styles), licences, "".join(sorted(unembedded)))


@lru_cache(maxsize=4)  # it takes a second, and a page is often written again with the same characters
def _cut(font: bytes, used: frozenset[str]) -> tuple[bytes, frozenset[str]]:
    """Font file with only the glyphs for some characters and their combinations, and those of them that it has."""
    from fontTools.subset import Options, Subsetter
    from fontTools.ttLib import TTFont

    options = Options(layout_features=["*"], hinting=False, notdef_outline=True, name_IDs=[0, 1, 2, 13, 14])
    with TTFont(io.BytesIO(font)) as opened:
        known = opened.getBestCmap() or {}
        covered = frozenset(character for character in used if ord(character) in known)
        subsetter = Subsetter(options)
        subsetter.populate(unicodes=[ord(character) for character in covered])
        subsetter.subset(opened)
        opened.flavor = "woff"
        content = io.BytesIO()
        opened.save(content)
    return content.getvalue(), covered
