"""Embeddings of a corpus' texts, computed when they are first needed and cached on disk by content."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from semalign_pl.encoder.sentence_encoder import SentenceEncoder
from semalign_pl.files.atomic import replace_file
from semalign_pl.files.digest import digest

log = logging.getLogger(__name__)

SMALL_ENCODER = 8_000_000
"""Number of weights below which an encoder gains from large batches. Measured on a CPU, time per text in blocks of 8
relative to blocks of 64: 2.0 for 0.75 M weights, 1.13 for 23 M weights and short texts, 0.8 for long ones."""
BLOCK, SMALL_ENCODER_BLOCK = 8, 64
"""Number of texts encoded together. It is small, because a step that needs one of them waits for all."""
DIGEST_BYTES = 16
MEMORY_BYTES = 256 * 2**20
"""Size of the blocks that are kept in memory in addition to the folder."""


class CorpusEmbeddings:
    """Cache of one embedding per distinct text, looked up by the text.

    The rounding of an embedding depends on the other texts in its batch. The corpus is therefore split into fixed
    blocks of texts of similar length, and a block is encoded as a whole when one of its texts is first needed. An
    embedding then has the same bits in every order of use: computed now, read from disk, or after a resume. Each block
    is a file named after its content and written atomically, so that several processes can share the folder. If the
    folder is not writable, the run still goes on: existing blocks are read, and new ones are kept only in memory.

    Args:
        encoder: Encoder of the texts.
        texts: Texts of the corpus, in any order, repeated or not. Only these texts can be looked up.
        folder: Folder of the blocks; ``None`` to keep them only in memory.
    """

    def __init__(self, encoder: SentenceEncoder, texts: Iterable[str], folder: Path | None) -> None:
        distinct = sorted(set(texts))
        written = [text for text in distinct if text.strip()]
        # Same order as in sentence-transformers' own batches of the corpus, ties included.
        by_length = np.argsort([-len(text) for text in written]) if written else []
        self._texts = [written[place] for place in by_length]
        self._place: dict[str, int | None] = {**dict.fromkeys(distinct), **{t: i for i, t in enumerate(self._texts)}}
        self._size = SMALL_ENCODER_BLOCK if encoder.weights < SMALL_ENCODER else BLOCK
        self._encoder, self._folder, self._writable = encoder, folder, folder is not None
        self._key = encoder.cache_key if folder is not None else ""
        self._memory: dict[int, np.ndarray] = {}
        self._block_bytes = self._size * encoder.dimensions * 4

    def __contains__(self, text: str) -> bool:
        return text in self._place

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embed texts of the corpus; blocks that are not cached yet are encoded.

        Args:
            texts: Texts of the corpus.

        Returns:
            ``(texts, dimensions)`` float32 on the encoder's device, each row of length 1, or 0 for blank text.
        """
        places = [self._place[text] for text in texts]
        blocks = {at: self._block(at) for at in sorted({p // self._size for p in places if p is not None})}
        vectors = np.zeros((len(texts), self._encoder.dimensions), np.float32)
        for row, place in enumerate(places):
            if place is not None:
                vectors[row] = blocks[place // self._size][place % self._size]
        return torch.from_numpy(vectors).to(self._encoder.device)

    def _block(self, at: int) -> np.ndarray:
        """Embeddings of a block, ``(texts, dimensions)`` float32, from memory, from disk or from the encoder."""
        if at in self._memory:
            return self._memory[at]
        if self._writable and len(self._memory) * self._block_bytes > MEMORY_BYTES:
            self._memory.clear()
        texts = self._texts[at * self._size : (at + 1) * self._size]
        path = None if self._folder is None else self._folder / f"{digest(self._key, texts, digits=32)}.npy"
        vectors = None if path is None else _read(path, (len(texts), self._encoder.dimensions))
        if vectors is None:
            vectors = self._encoder.encode(texts).cpu().numpy()
            if path is not None and self._writable:
                try:
                    _write(path, vectors)
                except OSError as error:
                    self._writable = False
                    _warn_unwritable(path.parent, error.strerror or str(error))
        self._memory[at] = vectors
        return vectors


@functools.cache  # once per process: a run opens the same folder for several sets of texts
def _warn_unwritable(folder: Path, reason: str) -> None:
    log.warning(
        "%s: embeddings cannot be kept there (%s); training goes on, and the next run computes them again; give "
        "`cache` a folder that can be written to, or null",
        folder,
        reason,
    )


def _checksum(path: Path, content: bytes) -> bytes:
    """Checksum of a file's name and content, so that the file of another block under this name is not accepted."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=path.stem.encode()).digest()


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """Read the array of a file; ``None`` if there is no file, or its content is not what was written."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        log.warning("%s: the cached embeddings cannot be read (%s); they are computed again", path, error.strerror)
        return None
    body, checksum = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if _checksum(path, body) == checksum:
        with contextlib.suppress(ValueError, OSError):  # no array, or an array of objects, which needs pickle
            vectors = np.load(io.BytesIO(body), allow_pickle=False)
            if vectors.shape == shape:
                return vectors
    log.warning("%s: the cached embeddings are damaged (checksum or length is wrong); they are computed again", path)
    return None


def _write(path: Path, vectors: np.ndarray) -> None:
    """Write a file atomically, even if several processes write it at once."""
    body = io.BytesIO()
    np.save(body, vectors)
    with replace_file(path, durable=False) as file:  # after a power cut, the checksum reveals a lost write
        file.write(body.getvalue() + _checksum(path, body.getvalue()))
