"""Console for tables and notes, which prints text as it is: without markup and without control characters."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import rich.console
import rich.text
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

from semalign_pl.messages.terminal import visible


class Text(rich.text.Text):
    """Rich's text, with control characters escaped before its width is measured.

    Args:
        text: Text to print.
        style: Rich style.
    """

    def __init__(self, text: str = "", style: str = "") -> None:
        super().__init__(visible(text), style)


class Console(rich.console.Console):
    """Rich's console without markup, emoji codes and highlighting, and with control characters escaped.

    Labels, names of files, folders and columns, and texts of a corpus come from the user, and may contain ``[/]``. Use
    `Text` or ``style=`` to set a style.

    Args:
        **options: Options of Rich's console.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"markup": False, "emoji": False, "highlight": False, **options})

    def render_str(self, text: str, **options: Any) -> rich.text.Text:  # type: ignore[override]
        """Convert a string to Rich's text, with control characters escaped."""
        return super().render_str(visible(text), **options)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """Render any object, and escape control characters that did not pass through strings or `Text`."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(visible(segment.text), segment.style)
