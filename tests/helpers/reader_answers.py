"""Files of answers as the page for native readers exports them, for tests without a browser."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from semalign_pl.judge.humans.answers import checksum
from semalign_pl.judge.humans.blinding import page_digest, pairs_digest
from semalign_pl.judge.pairs import Pair


def answers_of(
    pairs: Sequence[Pair], reader: str = "Dolma", seed: int = 3, rubric: str = "translation", choice: str = "first"
) -> dict[str, Any]:
    """Content of a file of one reader who makes the same choice each time."""
    page = page_digest(pairs_digest(pairs), seed, rubric)
    return {
        "format": "semalign-answers-1",
        "page": page,
        "pairs": pairs_digest(pairs),
        "rubric": rubric,
        "seed": seed,
        "reader": reader,
        "answers": [
            {"id": p.id, "choice": choice, "comment": "", "check": checksum(page, reader, p.id, choice, "")}
            for p in pairs
        ],
    }


def write_answers(folder: Path, content: object, name: str = "answers.json") -> Path:
    """Write a file of answers."""
    file = folder / name
    file.write_text(json.dumps(content), encoding="utf-8")
    return file
