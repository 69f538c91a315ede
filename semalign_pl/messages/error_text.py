"""One line of another library's error message, to quote in our own."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """First line of an error's message, or its type if the message is empty.

    Args:
        error: Exception of another library.
    """
    return _lines(error)[0]


def last_line(error: BaseException) -> str:
    """Last line of an error's message, for libraries that name the cause last, or its type if the message is empty.

    Args:
        error: Exception of another library.
    """
    return _lines(error)[-1].strip()


def single_line(error: BaseException, limit: int | None = None) -> str:
    """Whole message of an error in one line, or its type if the message is empty.

    Args:
        error: Exception of another library.
        limit: Maximum number of characters; ``None`` for no limit.
    """
    return " ".join(str(error).split())[:limit] or type(error).__name__


def _lines(error: BaseException) -> list[str]:
    return (str(error).strip() or type(error).__name__).splitlines()
