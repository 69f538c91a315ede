"""Embeddings of a corpus' texts, computed when they are first needed and kept on disk by content."""

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

from semalign_pl.encoder import SentenceEncoder
from semalign_pl.files.atomic import replace_file

log = logging.getLogger(__name__)

SMALL_ENCODER = 8_000_000
"""Weights below which an encoder gains from large batches. Measured on a CPU, time per text in blocks of 8 relative to
64: 2.0 for 0.75 M weights, 1.13 for 23 M weights and short texts, 0.8 for long ones."""
BLOCK, SMALL_ENCODER_BLOCK = 8, 64
"""Texts encoded together: few, because a step needs one of them and pays for all."""
DIGEST_BYTES = 16
MEMORY_BYTES = 256 * 2**20
"""Blocks of a folder that are kept in memory, too."""


class CorpusEmbeddings:
    """One embedding per distinct text, looked up by the text.

    The rounding of an embedding depends on the texts in its batch. The corpus is therefore cut into fixed blocks of
    texts of like length, and a block is encoded as a whole when one of its texts is first needed. So an embedding has
    the same bits in every order of use: computed now, read from disk, or after a resume. Each block is a file named
    after its content, written whole or not at all, so that several processes can share the folder. A folder that cannot
    be written to costs time, not the run: its blocks are read, and new ones are kept in memory alone.

    Args:
        encoder: The encoder.
        texts: The corpus' texts, in any order, repeated or not. Only they can be looked up.
        folder: Folder of the blocks; ``None`` keeps them in memory alone.
    """

    def __init__(self, encoder: SentenceEncoder, texts: Iterable[str], folder: Path | None) -> None:
        distinct = sorted(set(texts))
        written = [text for text in distinct if text.strip()]
        # The order in which sentence-transformers itself would batch the corpus, ties included.
        by_length = np.argsort([-len(text) for text in written]) if written else []
        self._texts = [written[place] for place in by_length]
        self._place: dict[str, int | None] = {**dict.fromkeys(distinct), **{t: i for i, t in enumerate(self._texts)}}
        self._size = SMALL_ENCODER_BLOCK if encoder.weights < SMALL_ENCODER else BLOCK
        self._encoder, self._folder, self._writable = encoder, folder, folder is not None
        self._signature = encoder.signature if folder is not None else ""
        self._memory: dict[int, np.ndarray] = {}
        self._block_bytes = self._size * encoder.dimensions * 4

    def __contains__(self, text: str) -> bool:
        return text in self._place

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """Embed texts of the corpus; encodes the blocks that nobody has encoded yet.

        Args:
            texts: Texts of the corpus (n).

        Returns:
            ``(n, dimensions)`` float32 on the encoder's device, each row of length 1, or 0 for blank text.
        """
        places = [self._place[text] for text in texts]
        blocks = {at: self._block(at) for at in sorted({p // self._size for p in places if p is not None})}
        vectors = np.zeros((len(texts), self._encoder.dimensions), np.float32)
        for row, place in enumerate(places):
            if place is not None:
                vectors[row] = blocks[place // self._size][place % self._size]
        return torch.from_numpy(vectors).to(self._encoder.device)

    def _block(self, at: int) -> np.ndarray:
        """``(texts, dimensions)`` float32: the block's embeddings, from memory, from disk or from the encoder."""
        if at in self._memory:
            return self._memory[at]
        if self._writable and len(self._memory) * self._block_bytes > MEMORY_BYTES:
            self._memory.clear()
        texts = self._texts[at * self._size : (at + 1) * self._size]
        path = None if self._folder is None else self._folder / f"{_digest(self._signature, texts)}.npy"
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


@functools.cache  # once per process: a run has several parts of a corpus in one folder
def _warn_unwritable(folder: Path, reason: str) -> None:
    log.warning(
        "%s: embeddings cannot be kept there (%s); training goes on, and the next run computes them again; give "
        "`cache` a folder that can be written to, or null",
        folder,
        reason,
    )


def _digest(signature: str, texts: Sequence[str]) -> str:
    digest = hashlib.sha256(b"checksum of name and content\0" + signature.encode())
    for text in texts:
        digest.update(b"\0" + text.encode())
    return digest.hexdigest()[:32]


def _checksum(path: Path, content: bytes) -> bytes:
    """Checksum of a file's name and content, so that another block's file under this name is not believed."""
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES, key=path.stem.encode()).digest()


def _read(path: Path, shape: tuple[int, int]) -> np.ndarray | None:
    """The array in a file, or ``None`` where there is no file or its content is not what was written."""
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        log.warning("%s: the cached embeddings cannot be read (%s); they are computed again", path, error.strerror)
        return None
    body, checksum = content[:-DIGEST_BYTES], content[-DIGEST_BYTES:]
    if _checksum(path, body) == checksum:
        with contextlib.suppress(ValueError, OSError):  # no array, or one of objects, which are a pickle
            vectors = np.load(io.BytesIO(body), allow_pickle=False)
            if vectors.shape == shape:
                return vectors
    log.warning("%s: the cached embeddings are damaged (checksum or length is wrong); they are computed again", path)
    return None


def _write(path: Path, vectors: np.ndarray) -> None:
    """Write a file whole or not at all, also where several processes write it at once."""
    body = io.BytesIO()
    np.save(body, vectors)
    with replace_file(path, durable=False) as file:  # where a power cut loses it, its checksum tells
        file.write(body.getvalue() + _checksum(path, body.getvalue()))
