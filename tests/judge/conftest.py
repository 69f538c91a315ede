from __future__ import annotations

from pathlib import Path

import pytest
from helpers.judge_command import write


@pytest.fixture
def files(tmp_path: Path) -> tuple[str, str, str]:
    """A is better in six of ten items, B in two; and where the results go."""
    a = write(tmp_path / "a.jsonl", [f"{i} good" if i < 6 else f"{i}" for i in range(10)])
    b = write(tmp_path / "b.jsonl", [f"{i} other good" if 6 <= i < 8 else f"{i} other" for i in range(10)])
    return str(a), str(b), str(tmp_path / "out")
