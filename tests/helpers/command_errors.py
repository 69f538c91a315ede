"""Read the one line in which a command of the CLI reports a mistake."""

from __future__ import annotations

import lightning.pytorch  # noqa: F401  (its log handler keeps the stream of the time of import, which a test would close)
import pytest

from semalign_pl.__main__ import main


def error_line(capfd: pytest.CaptureFixture[str], args: list[str]) -> str:
    """Output of a mistaken command: a single line, apart from Lightning's notes about the hardware."""
    capfd.readouterr()
    assert main(args) == 2
    lines = capfd.readouterr().err.splitlines()
    ours = [line for line in lines if line.startswith("semalign: error: ")]
    assert len(ours) == 1 and lines[-1] == ours[0] and not any("Traceback" in line for line in lines)
    return ours[0].removeprefix("semalign: error: ")
