"""Self-contained HTML pages: Jinja templates of a room, with the one stylesheet of the package in them."""

from __future__ import annotations

import base64
import hashlib
from importlib.resources import files
from pathlib import Path

from semalign_pl.files.atomic import write_text


def page_style() -> str:
    """Stylesheet that all pages share."""
    return (files("semalign_pl.files") / "page.css").read_text(encoding="utf-8")


def security_policy(style: str, script: str) -> str:
    """Content security policy of a page: only these two texts may style it and run, and it may load nothing.

    A hostile text in the page can then neither run code nor call home, even if an escape were missing.

    Args:
        style: Content of the page's only ``style`` element.
        script: Content of the page's only ``script`` element that runs.
    """
    hashes = (base64.b64encode(hashlib.sha256(text.encode("utf-8")).digest()).decode() for text in (style, script))
    style_hash, script_hash = hashes
    return (
        f"default-src 'none'; style-src 'sha256-{style_hash}'; script-src 'sha256-{script_hash}'; font-src data:; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def write_html_page(path: Path, room: str, template: str, **values: object) -> None:
    """Render a template and write the page. The page loads nothing: styles and pictures are inline.

    Args:
        path: File to write.
        room: Package of the template.
        template: Path of the template in the room.
        **values: Variables of the template.
    """
    write_text(path, render_html_page(room, template, **values))


def render_html_page(room: str, template: str, **values: object) -> str:
    """Render a template.

    Args:
        room: Package of the template, such as ``semalign_pl.report``; the template may include others of it.
        template: Path of the template in the room. Its variable ``style`` is the shared stylesheet unless ``values``
            have another; all other values are escaped.
        **values: Variables of the template, all that it uses.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined
    from markupsafe import Markup

    loader = FunctionLoader(lambda name: files(room).joinpath(*name.split("/")).read_text(encoding="utf-8"))
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    page = environment.get_template(template).render({"style": Markup(page_style()), **values})
    return page.encode("utf-8", "replace").decode()  # a lone surrogate is no text
