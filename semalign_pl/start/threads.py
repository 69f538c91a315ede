"""Settings of a process while torch is loaded: the waiting of its threads, and the first line of the command."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


def wait_passively() -> None:
    """Let OpenMP's threads sleep while they wait for each other, unless the user chose otherwise.

    By default they spin. On a core that another process uses too, a thread that spins keeps the one that it waits for
    from running: a step of two threads took 95 s instead of 1 s. OpenMP reads the variable once, when torch is loaded.
    """
    if "GOMP_SPINCOUNT" not in os.environ:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """Import libraries in the block without garbage collection, which finds nothing and takes a seventh of the time."""
    collecting = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if collecting:
            gc.enable()


class FirstLine(MetaPathFinder):
    """Import hook that prints one line on stderr when torch begins to load, which takes seconds.

    Args:
        command: Name of the command.
    """

    def __init__(self, command: str) -> None:
        self.command = command

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        """Print the line before the first import of torch; find nothing, so that the import goes on as usual.

        Args:
            fullname: Name of the module to import.
            path: Path of its package.
            target: Module to reload.
        """
        if fullname == "torch":
            sys.meta_path.remove(self)
            print(f"semalign {self.command}: loading PyTorch, which takes some seconds", file=sys.stderr, flush=True)
