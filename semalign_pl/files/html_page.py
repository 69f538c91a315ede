"""Self-contained HTML pages: a Jinja template of a room, with the one stylesheet of the package in it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from semalign_pl.files.atomic import write_text


def write_html_page(path: Path, room: str, template: str, **values: object) -> None:
    """Render a template and write the page. The page loads nothing: styles and pictures are inline.

    Args:
        path: File to write.
        room: Package of the template, such as ``semalign_pl.report``.
        template: File name of the template. Its variable ``style`` is the stylesheet; all other values are escaped.
        **values: Variables of the template, all that it uses.
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page = environment.from_string((files(room) / template).read_text(encoding="utf-8"))
    style = Markup((files("semalign_pl.files") / "page.css").read_text(encoding="utf-8"))
    write_text(path, page.render(style=style, **values))
