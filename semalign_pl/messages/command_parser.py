"""Parser of a command's own flags."""

from __future__ import annotations

import argparse
from typing import NoReturn

from semalign_pl.messages.errors import UsageError


class CommandParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` that raises an error instead of printing a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise a ``UsageError`` with the message and the command whose help lists the flags."""
        missing = message.removeprefix("the following arguments are required: ")
        what = message if missing == message else f"{missing}: missing"
        raise UsageError(f"{what}; see {self.prog} --help")
