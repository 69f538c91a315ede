"""Chat template that a recipe gives in place of the base's."""

from __future__ import annotations

from pathlib import Path

OPTION = "model.init_args.chat_template"


def read_template(given: str) -> str:
    """Read a chat template.

    Args:
        given: Path of a file, or the template itself: text with a brace or a line break is a template.

    Returns:
        Jinja source of the template.

    Raises:
        ValueError: If the file cannot be read, or holds nothing.
    """
    if any(sign in given for sign in "{}\n"):
        return given
    try:
        text = Path(given).read_text(encoding="utf-8")  # with line breaks as a saved tokenizer has them
    except (OSError, ValueError) as error:
        wrong = "is not UTF-8" if isinstance(error, UnicodeError) else "cannot be read"
        if isinstance(error, FileNotFoundError):
            wrong = "is no file, and as a template it has no {{ }}"
        raise ValueError(f"{OPTION}: {given!r} {wrong}; give a .jinja file, or the template's text") from error
    if not text.strip():
        raise ValueError(f"{OPTION}: {given} is empty; write the template into it, or leave the option out")
    return text
