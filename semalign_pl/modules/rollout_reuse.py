"""Completions of the epoch before, which the next epoch has as drafts (`engine/drafts.py`)."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import Sequence

from semalign_pl.types import Example, Rollouts


class RolloutReuse:
    """Last completions of each row, and the seed of its uniforms, which is the same in every epoch.

    They are not part of a checkpoint: after a resume, rows have no drafts until they have been sampled again.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._completions: dict[str, list[array[int]]] = {}

    def keys(self, batch: Sequence[Example], prompts: Sequence[Sequence[int]]) -> list[str]:
        """Name of each row, the same in every epoch; a row that is in the batch twice has two.

        Args:
            batch: Examples of the step.
            prompts: Token ids of their prompts.
        """
        seen = Counter[str]()
        names = []
        for example, prompt in zip(batch, prompts, strict=True):
            row = hashlib.blake2b(f"{example.id}/{example.corpus}/{list(prompt)}".encode(), digest_size=16).hexdigest()
            names.append(f"{row}/{seen[row]}")
            seen[row] += 1
        return names

    def seeds(self, keys: Sequence[str]) -> list[int]:
        """Seed of each row's uniforms.

        Args:
            keys: Names of the rows.
        """
        digests = (hashlib.blake2b(f"{self._seed}/{key}".encode(), digest_size=6).digest() for key in keys)
        return [int.from_bytes(digest, "big") for digest in digests]

    def drafts(self, keys: Sequence[str], num_generations: int) -> list[Sequence[int]]:
        """Last completions of each row, empty where there is none.

        Args:
            keys: Names of the rows.
            num_generations: Number of completions per row.
        """
        none = [array("i")] * num_generations
        return [draft for key in keys for draft in self._completions.get(key, none)]

    def store(self, keys: Sequence[str], rollouts: Rollouts) -> None:
        """Keep the completions of a step.

        Args:
            keys: Names of the rows.
            rollouts: Their completions.
        """
        lengths, ids = rollouts.completion_mask.sum(1).tolist(), rollouts.completion_ids.tolist()
        completions = [array("i", row[:length]) for row, length in zip(ids, lengths, strict=True)]
        size = rollouts.num_generations
        for place, key in enumerate(keys):
            self._completions[key] = completions[place * size : (place + 1) * size]
