"""Validation loss: sums over batches and ranks, divided once, in total and per corpus."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class ValidationLoss:
    """Sums of the NLL of references. The loss depends neither on the size of the batches nor on their number.

    Args:
        corpora: Names of the corpora of a mix, the same on all ranks; empty for none.
    """

    def __init__(self, corpora: Sequence[str]) -> None:
        self._corpora = ["", *corpora]
        self._too_long = 0
        # Per corpus: NLL and tokens of all rows, NLL and bytes of its raw text.
        self._sums = torch.zeros(len(self._corpora), 4, dtype=torch.float64)

    def add(self, corpus: str, nll: float, tokens: int, text_bytes: int | None) -> None:
        """Add references of one corpus.

        Args:
            corpus: Name of the corpus; empty for none.
            nll: NLL of the references in nats, summed.
            tokens: Number of their tokens.
            text_bytes: Size of the references in bytes if they are raw text; else ``None``.
        """
        raw = (0.0, 0.0) if text_bytes is None else (nll, float(text_bytes))
        self._sums[self._corpora.index(corpus)] += torch.tensor([nll, tokens, *raw], dtype=torch.float64)

    def leave_out(self, rows: int) -> None:
        """Count rows whose references are too long.

        Args:
            rows: Number of rows.
        """
        self._too_long += rows

    def metrics(self, over_ranks: Callable[[Tensor], Tensor]) -> dict[str, float]:
        """Per-token loss, rows left out and, of raw text, bits per byte, by log name; empty without a token.

        Args:
            over_ranks: Function that sums a tensor over all ranks.
        """
        sums: Float[Tensor, " sums"] = over_ranks(torch.cat([self._sums.flatten(), torch.tensor([self._too_long])]))
        rows, too_long = sums[:-1].view_as(self._sums), float(sums[-1])
        nll, tokens, raw_nll, raw_bytes = rows.sum(0).tolist()
        if not tokens:
            return {}
        per_corpus = zip(self._corpora, rows.tolist(), strict=True)
        losses = {f"loss/{name}": row[0] / row[1] for name, row in per_corpus if name and row[1]}
        bits = {"bits_per_byte": raw_nll / math.log(2) / raw_bytes} if raw_bytes else {}
        return {"loss": nll / tokens, **losses, **bits, "rows_too_long": too_long}
