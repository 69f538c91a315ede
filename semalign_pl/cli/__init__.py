"""Command line: LightningCLI's four commands, and the checks before a command starts."""

from semalign_pl.cli.lightning_cli import SemAlignCLI, main, make_cli, run
from semalign_pl.cli.parser import Parser

__all__ = ["Parser", "SemAlignCLI", "main", "make_cli", "run"]
