"""Embeddings of a corpus' texts, computed once and kept on disk by content."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semalign_pl.encoder import SentenceEncoder

CHUNK = 8192
"""Texts encoded between two steps of the progress bar."""


class CorpusEmbeddings:
    """One embedding a distinct text, looked up by the text.

    They are encoded in one fixed order, so that they are the same bits whether computed now or read from disk: batches
    of another make-up would differ in rounding, and a resumed run from an uninterrupted one. The file is mapped, not
    read: memory stays flat however large the corpus.

    Args:
        encoder: The encoder.
        texts: The corpus' texts, in any order, repeated or not.
        folder: Where to keep them; ``None`` keeps them in memory alone.
    """

    def __init__(self, encoder: SentenceEncoder, texts: Iterable[str], folder: Path | None) -> None:
        distinct = sorted(set(texts))
        self._device = encoder.encode([]).device
        self._row = {text: row for row, text in enumerate(distinct)}
        if folder is None:
            self._vectors = _encoded(encoder, distinct)
            return
        path = folder / f"{_digest(encoder.signature, distinct)}.npy"
        if not path.is_file():
            _write(path, _encoded(encoder, distinct))
        self._vectors = np.load(path, mmap_mode="r")

    def __contains__(self, text: str) -> bool:
        return text in self._row

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """``(n, dimensions)`` float32 on the encoder's device, each row of length 1, or 0 for blank text."""
        rows = self._vectors[[self._row[text] for text in texts]]
        return torch.from_numpy(np.ascontiguousarray(rows)).to(self._device)


def _encoded(encoder: SentenceEncoder, texts: Sequence[str]) -> np.ndarray:
    from rich.progress import track

    chunks = [texts[start : start + CHUNK] for start in range(0, max(1, len(texts)), CHUNK)]
    shown = track(chunks, "embedding the corpus", disable=len(chunks) < 2)
    return np.concatenate(
        [encoder.encode(chunk).cpu().numpy() for chunk in shown] or [encoder.encode([]).cpu().numpy()]
    )


def _digest(signature: str, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(signature.encode())
    for text in texts:
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()[:32]


def _write(path: Path, vectors: np.ndarray) -> None:
    """Whole or not at all, also where several runs come to it at once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        np.save(file, vectors)
    temporary.replace(path)
