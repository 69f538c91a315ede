"""``semalign judge`` on two small files, with a judge whose answers a test plants."""

from __future__ import annotations

import json
from pathlib import Path

from helpers.judge_server import JudgeServer, texts_of
from semalign_pl.__main__ import main

KEY = "sk-planted-0123456789abcdef"


def fair(prompt: str) -> str:
    """The text with more of the word ``good`` is better."""
    one, two = (text.count("good") for text in texts_of(prompt))
    return f"Because.\nVERDICT: {'tie' if one == two else '1' if one > two else '2'}"


def write(path: Path, texts: list[str]) -> Path:
    rows = [{"id": str(i), "source": f"source {i}", "prediction": text} for i, text in enumerate(texts)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def judge(files: tuple[str, str, str], server: JudgeServer, *flags: str) -> int:
    a, b, out = files
    return main(["judge", a, b, "--judge", f"m@{server.url}", "--out", out, *flags])


def figures(files: tuple[str, str, str]) -> dict:
    return json.loads(Path(files[2], "judge.json").read_text(encoding="utf-8"))["judges"]
