"""A user's mistake is answered by one clear line; everything else keeps its traceback."""

from __future__ import annotations

import contextlib
import difflib
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType


class UsageError(Exception):
    """The command line or YAML cannot be parsed."""


@dataclass
class Status:
    """Exit status of a command."""

    code: int = 0


@contextlib.contextmanager
def one_line() -> Iterator[Status]:
    """Print a user's mistake as one line on stderr and set the status to 2.

    A mistake is what the parser refuses, what Lightning calls a misconfiguration, or a ``ValueError`` that this
    package itself raised. An error from anywhere else is a fault and propagates.

    Yields:
        The status to return.
    """
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    status = Status()
    try:
        yield status
    except UsageError as error:
        message = summarise(str(error))
    except MisconfigurationException as error:
        message = " ".join(str(error).split())
    except ValueError as error:
        if not _raised_here(error.__traceback__):
            raise
        message = " ".join(str(error).split())
    else:
        return
    print(f"semalign: error: {message}", file=sys.stderr)
    status.code = 2


def _raised_here(traceback: TracebackType | None) -> bool:
    module = ""
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return module.split(".")[0] == __package__


def summarise(message: str) -> str:
    """One line out of jsonargparse's nested report: the key, what is wrong with it, and the nearest right one.

    Args:
        message: The report.
    """
    text = " ".join(message.split())
    return text
