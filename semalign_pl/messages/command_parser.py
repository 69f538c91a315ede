"""Parser of a command's own flags."""

from __future__ import annotations

import argparse
import re
from typing import NoReturn

from semalign_pl.messages.errors import UsageError


class CommandParser(argparse.ArgumentParser):
    """``argparse.ArgumentParser`` that raises an error instead of printing a page of usage."""

    def error(self, message: str) -> NoReturn:
        """Raise a ``UsageError`` with the message and the command whose help lists the flags."""
        if message.startswith("unrecognized arguments: "):
            raise UsageError(message, [flag.lstrip("-") for flag in self._option_string_actions])
        missing = message.removeprefix("the following arguments are required: ")
        what = message if missing == message else f"{missing}: missing"
        what = re.sub(r"argument (\S+): invalid (\w+) value: (.*)", r"\1: needs \2, not \3", what)
        raise UsageError(f"{what}; see {self.prog} --help")
