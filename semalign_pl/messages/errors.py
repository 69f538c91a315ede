"""Error reporting: one clear line for a user's mistake, a traceback for everything else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType

from semalign_pl.files.file_errors import describe
from semalign_pl.messages.lost_process import explain_lost_process
from semalign_pl.messages.missing_packages import explain_missing
from semalign_pl.messages.out_of_memory import explain_out_of_memory
from semalign_pl.messages.terminal import visible


class UsageError(Exception):
    """Error for a command line or YAML that cannot be parsed.

    Args:
        message: Message of the parser.
        keys: Keys that the parser accepts, from which the likeliest is suggested.
    """

    def __init__(self, message: str, keys: Iterable[str] = ()) -> None:
        super().__init__(message)
        self.keys = list(keys)


@dataclass
class Status:
    """Exit status of a command.

    Attributes:
        code: 0, or 2 after a user's mistake.
    """

    code: int = 0


@contextlib.contextmanager
def one_line(args: Sequence[str] = ()) -> Iterator[Status]:
    """Print a user's mistake as one line on stderr and set the status to 2.

    These are a user's mistakes: an error of the parser, a misconfiguration that Lightning reports, a ``ValueError``
    raised by this package itself, a path that cannot be used (`describe`), a package that is not installed
    (`explain_missing`), a full disk, whichever library wrote to it, memory that has run out
    (`explain_out_of_memory`), and another process of the run that has ended (`explain_lost_process`). Every other error
    is a bug and propagates.

    Args:
        args: Command line, from which the file with the mistake is named.

    Yields:
        Exit status; read its code after the block.
    """
    status = Status()
    try:
        yield status
    except UsageError as error:
        from semalign_pl.messages.mistakes import summarise

        message = summarise(str(error), error.keys, args)
    except Exception as error:
        from semalign_pl.files.disk import explain_full_disk

        explained = _misconfiguration(error) or explain_full_disk(error) or _explain(error, args)
        if explained is None:
            raise
        message = explained
    else:
        return
    print(f"semalign: error: {visible(' '.join(message.split()))}", file=sys.stderr)
    status.code = 2


def _misconfiguration(error: Exception) -> str | None:
    """Message of Lightning's error for a wrong setting; Lightning, which takes seconds to import, is not imported."""
    lightning = sys.modules.get("lightning.fabric.utilities.exceptions")
    return str(error) if lightning and isinstance(error, lightning.MisconfigurationException) else None


def _explain(error: Exception, args: Sequence[str]) -> str | None:
    """One line for a user's mistake; ``None`` for a bug."""
    if isinstance(error, ValueError) and _raised_here(error.__traceback__):
        return str(error)
    if isinstance(error, OSError):
        return describe(error)
    if isinstance(error, ModuleNotFoundError):
        return explain_missing(str(error))
    return explain_out_of_memory(error, args) or explain_lost_process(error)


def _raised_here(traceback: TracebackType | None) -> bool:
    module = ""
    while traceback is not None:
        module = traceback.tb_frame.f_globals.get("__name__", "")
        traceback = traceback.tb_next
    return module.split(".")[0] == __name__.split(".")[0]
