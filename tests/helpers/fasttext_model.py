"""A supervised fastText model from texts, without fastText's trainer: naive Bayes over its character n-grams."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

BUCKETS, SHORTEST, LONGEST = 20_000, 2, 4
SHARPNESS = 8.0
"""Factor of the logits: fastText averages over the n-grams of a text, naive Bayes adds."""


def buckets(text: str) -> Iterator[int]:
    """Buckets of the character n-grams of a text's words, as fastText counts them (Dictionary::computeSubwords)."""
    for word in (f"<{word}>" for word in text.split()):
        for start in range(len(word)):
            for size in range(SHORTEST, LONGEST + 1):
                gram = word[start : start + size]
                if len(gram) == size:
                    value = 2166136261
                    for byte in gram.encode():
                        value = ((value ^ (byte if byte < 128 else byte | 0xFFFFFF00)) * 16777619) & 0xFFFFFFFF
                    yield value % BUCKETS


def train(texts: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Vectors of the buckets, ``(BUCKETS, labels)`` float32: centred log-probs of a bucket in each language."""
    counts = np.full((BUCKETS, len(texts)), 0.1)
    for label, of_label in enumerate(texts.values()):
        for text in of_label:
            np.add.at(counts[:, label], list(buckets(text)), 1)
    logs = np.log(counts / counts.sum(0))
    return ((logs - logs.mean(1, keepdims=True)) * SHARPNESS).astype("<f4")


def write_model(path: Path, texts: Mapping[str, Sequence[str]]) -> np.ndarray:
    """Write a model in fastText's format (version 12) with one label per language; returns the vectors."""
    vectors, labels = train(texts), list(texts)
    size = len(labels)
    softmax, supervised = 3, 3
    args = (size, 5, 1, 1, 5, 1, softmax, supervised, BUCKETS, SHORTEST, LONGEST, 100)
    parts = [struct.pack("<2i", 793712314, 12), struct.pack("<12id", *args, 1e-4)]
    parts.append(struct.pack("<3i2q", size, 0, size, size, -1))
    parts += [f"__label__{label}".encode() + b"\0" + struct.pack("<qb", 1, 1) for label in labels]
    for matrix in (vectors, np.eye(size, dtype="<f4")):
        parts.append(struct.pack("<?2q", False, *matrix.shape) + matrix.tobytes())
    path.write_bytes(b"".join(parts))
    return vectors


def probability(vectors: np.ndarray, text: str, label: int) -> float:
    """Probability of a label by the definition: softmax of the mean vector of the text's n-grams."""
    logits = vectors[list(buckets(text))].mean(0)
    weights = [math.exp(logit - max(logits)) for logit in logits]
    return weights[label] / sum(weights)
