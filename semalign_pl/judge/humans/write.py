"""The page for native readers: one file that needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from semalign_pl.files.html_page import page_style, security_policy, write_html_page
from semalign_pl.judge.humans.answers import FORMAT, LONGEST_COMMENT, LONGEST_NAME
from semalign_pl.judge.humans.blinding import blind, page_digest, pairs_digest
from semalign_pl.judge.pairs import Pair

ROOM = "semalign_pl.judge.humans"


def write_page(pairs: Sequence[Pair], out: Path, rubric: str, guide: str, seed: int) -> Path:
    """Write the page. It holds the pairs, in a blind order, and neither the names of the systems nor the sides.

    Args:
        pairs: Pairs with different ids.
        out: HTML file to write.
        rubric: Name of the rubric, for the records.
        guide: Text that tells the readers what to look for.
        seed: Seed of the order of pairs and sides.

    Returns:
        Path of the page.

    Raises:
        OSError: If the file cannot be written.
    """
    from markupsafe import Markup

    from semalign_pl.report.fonts import embed_fonts
    from semalign_pl.report.samples import to_script_json

    pairs_made = pairs_digest(pairs)
    data = to_script_json(
        {
            "format": FORMAT,
            "page": page_digest(pairs_made, seed, rubric),
            "pairs": pairs_made,
            "rubric": rubric,
            "seed": seed,
            "items": [_item(shown.pair, shown.first) for shown in blind(pairs, seed)],
        }
    )
    fonts = embed_fonts(f"{data}{guide}")
    style, script = page_style() + _text("humans.css") + fonts.style, _text("humans.js")
    write_html_page(
        out,
        ROOM,
        "page/humans.html.jinja",
        policy=security_policy(style, script),
        style=Markup(style),
        script=Markup(script),
        data=Markup(data),
        count=len(pairs),
        rubric=guide.strip(),
        licences=fonts.licences,
        longest_name=LONGEST_NAME,
        longest_comment=LONGEST_COMMENT,
    )
    return out


def _item(pair: Pair, first: str) -> dict[str, object]:
    one, other = (pair.a, pair.b) if first == "a" else (pair.b, pair.a)
    return {
        "id": pair.id,
        "source": _with_language(pair.source),
        "reference": None if pair.reference is None else _with_language(pair.reference),
        "first": _with_language(one),
        "second": _with_language(other),
    }


def _with_language(text: str) -> dict[str, str]:
    from semalign_pl.report.text_language import guess_language

    return {"text": text, "lang": guess_language(text)}


def _text(name: str) -> str:
    return (files(ROOM) / "page" / name).read_text(encoding="utf-8")
