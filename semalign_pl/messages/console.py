"""The terminal that tables and notes are printed on: text is text, whatever is in it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
import rich.text
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from semalign_pl.messages.terminal import visible


class Text(rich.text.Text):
    """Rich's text with control characters written out, before it is measured and laid out."""

    def __init__(self, text: str = "", style: str = "") -> None:
        super().__init__(visible(text), style)


class Console(rich.console.Console):
    """Rich's console without markup, emoji codes and highlighting, and with control characters written out.

    Labels, names of files, folders and columns, and texts of a corpus come from outside; ``[/]`` in them is no mistake.
    A style is given by `Text` or ``style=``.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render_str(self, text: str, **options: Any) -> rich.text.Text:  # type: ignore[override]
        """Text of a string, as of `Text`."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Segments of anything: the net under what is not made of strings and `Text`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
