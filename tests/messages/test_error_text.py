"""One line of an error's message, for messages with one line."""

import pytest

from semalign_pl.messages.error_text import first_line, last_line, single_line


@pytest.mark.parametrize(
    ("message", "first", "last"),
    [
        ("one line", "one line", "one line"),
        ("\n  Error(s) in loading:\n\tsize mismatch\n", "Error(s) in loading:", "size mismatch"),
        ("", "KeyError", "KeyError"),
        (" \n ", "KeyError", "KeyError"),
    ],
)
def test_the_line_quoted_of_an_error(message: str, first: str, last: str) -> None:
    error = type("KeyError", (Exception,), {})(message)
    assert (first_line(error), last_line(error)) == (first, last)


@pytest.mark.parametrize(
    ("message", "limit", "line"),
    [("\n two  lines\nof text ", None, "two lines of text"), ("two\nlines", 5, "two l"), (" \n ", 5, "KeyError")],
)
def test_the_whole_message_in_one_line(message: str, limit: int | None, line: str) -> None:
    assert single_line(type("KeyError", (Exception,), {})(message), limit) == line
