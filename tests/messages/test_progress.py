"""Progress on a terminal, while the answers go to a file."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

CODE = """
from semalign_pl.messages.progress import Progress
with Progress(2) as progress:
    for number in range(2):
        print("answer", number, flush=True)
        progress.add(1)
"""


def test_answers_go_to_the_file_and_the_bar_to_the_terminal(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    with (tmp_path / "out.txt").open("wb") as out:
        environment = {**os.environ, "TERM": "xterm"}
        done = subprocess.run([sys.executable, "-c", CODE], stdin=theirs, stdout=out, stderr=theirs, env=environment)
    shown = os.read(ours, 2**16)
    os.close(ours)
    os.close(theirs)
    assert done.returncode == 0 and b"answer" not in shown and b"0/2" in shown
    assert (tmp_path / "out.txt").read_text(encoding="utf-8") == "answer 0\nanswer 1\n"
