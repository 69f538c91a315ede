"""Embedded fonts: cut to the characters of a page, with the copyright notice that their licence asks for."""

from __future__ import annotations

import io
from importlib.resources import files

import pytest
from fontTools.ttLib import TTFont

from semalign_pl.report.fonts import SHIPPED, ShippedFont, embed_fonts

FOLDER = files("semalign_pl.report") / "fonts"


@pytest.mark.parametrize("font", SHIPPED, ids=lambda font: font.title)
def test_the_licence_begins_with_the_fonts_own_copyright_notice(font: ShippedFont) -> None:
    with TTFont(io.BytesIO((FOLDER / font.file).read_bytes())) as opened:
        notice = opened["name"].getDebugName(0)
    licence = (FOLDER / font.file.replace(".woff", ".txt")).read_text(encoding="utf-8")
    assert notice and licence.startswith(notice) and "SIL OPEN FONT LICENSE Version 1.1" in licence


def test_only_the_fonts_of_used_scripts_are_embedded() -> None:
    assert embed_fonts("plain text").licences == [] and embed_fonts("plain text").style == ""
    embedded = embed_fonts("བོད་ and བོད་")
    assert [title for title, _ in embedded.licences] == ["Noto Serif Tibetan"] and embedded.unembedded == ""
    assert embed_fonts("中误").unembedded == "误"  # not among the commonest characters
