"""Pages: one stylesheet inside, and values as text."""

from importlib.resources import files

import pytest
from jinja2 import UndefinedError

from semalign_pl.files.html_page import write_html_page

STYLE = (files("semalign_pl.files") / "page.css").read_text(encoding="utf-8")
TEMPLATES = [
    ("semalign_pl.report", "page/report.html.jinja"),
    ("semalign_pl.inspection", "page.html.jinja"),
    ("semalign_pl.inference", "page/demo.html.jinja"),
]


@pytest.mark.parametrize(("room", "template"), TEMPLATES)
def test_the_pages_have_no_stylesheet_of_their_own(room, template) -> None:
    source = (files(room) / template).read_text(encoding="utf-8")
    assert source.count("<style>") == 1 and "<style>{{ style }}</style>" in source.replace("<style>\n", "<style>")


def test_style_is_whole_and_values_are_escaped(tmp_path) -> None:
    (tmp_path / "page.jinja").write_text("<style>{{ style }}</style><p>{{ name }}</p>", encoding="utf-8")
    (tmp_path / "__init__.py").touch()
    path = tmp_path / "page.html"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path.parent)
        write_html_page(path, tmp_path.name, "page.jinja", name="<b>")
        assert path.read_text(encoding="utf-8") == f"<style>{STYLE}</style><p>&lt;b&gt;</p>"
        with pytest.raises(UndefinedError, match="name"):
            write_html_page(path, tmp_path.name, "page.jinja")
