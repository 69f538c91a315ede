"""``semalign corpus`` starts quickly: it imports no torch, unless a model or a recipe is named."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("arguments", [["--help"], ["pairs.jsonl", "dev.jsonl"]], ids=["help", "files"])
def test_no_torch_is_imported(arguments: list[str], tmp_path: Path) -> None:
    for name, texts in (("pairs", ("我们看书。", "他们唱歌。")), ("dev", ("我们看书。",))):
        rows = [json.dumps({"zh": text, "bo": "བོད་ཡིག།"}) for text in texts]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    code = (
        f"import sys; from semalign_pl.__main__ import main\n"
        f"try: status = main(['corpus', *{arguments!r}])\n"
        f"except SystemExit as end: status = end.code\n"
        f"heavy = {{'torch', 'lightning', 'transformers', 'jsonargparse', 'datasets'}} & set(sys.modules)\n"
        f"assert not status and not heavy, (status, heavy)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    if arguments == ["--help"]:
        assert "--splits" in done.stdout
        assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2
