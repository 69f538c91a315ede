"""A ``training.json`` that is JSON, but not what Export writes, is named in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from semalign_pl.run.folder import RunFolder


@pytest.mark.parametrize(
    ("content", "message"), [("[8]", "list is no JSON object of facts"), ('{"steps": "8"}', "steps: '8' is no whole")]
)
def test_training_file_of_another_shape_is_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "training.json").write_text(content, encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        RunFolder(tmp_path, (tmp_path,)).finished_step()
