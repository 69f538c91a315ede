"""Sources of a step's completions: the corpora of a mix, and the number of tokens of each in the loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from lightning.pytorch import Trainer
from torch import Tensor

from semalign_pl.engine.logprobs import CompletionLogprobs
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.protocols import MixedData
from semalign_pl.run.trainer import data_module_of
from semalign_pl.types import Example


@dataclass(frozen=True)
class Sources:
    """Corpus of each completion of a term, so that the loss is logged per corpus without another forward.

    Attributes:
        corpora: Name of the corpus of each completion; empty for none.
        tokens: Number of completion tokens of each corpus of the mix, summed over ranks; the same on all ranks.
        ranks: Number of ranks.
    """

    corpora: Sequence[str]
    tokens: Mapping[str, float]
    ranks: int = 1

    @property
    def denominators(self) -> dict[str, float]:
        """Divisor of the NLL of each corpus in the step by log name, so that the mean over ranks is per token."""
        return {_log_name(name): tokens / self.ranks for name, tokens in self.tokens.items() if tokens}

    @property
    def shares(self) -> dict[str, float]:
        """Share of each corpus in the step's tokens, and NaN as the loss of a corpus without any; by log name."""
        total = max(1.0, sum(self.tokens.values()))
        absent = {_log_name(name): math.nan for name, tokens in self.tokens.items() if not tokens}
        return {f"token_share/{name}": tokens / total for name, tokens in self.tokens.items()} | absent

    def nll(self, logprobs: CompletionLogprobs) -> dict[str, Float[Tensor, ""]]:
        """NLL of the completions of one chunk per corpus of the step, summed, in nats, by log name.

        Args:
            logprobs: Log-probs of the chunk; ``indices`` are places in ``corpora``.
        """
        per_row = -logprobs.logps.detach().masked_fill(~logprobs.mask, 0.0).sum(1)
        corpora = [self.corpora[index] for index in logprobs.indices]
        rows = {name: [row for row, corpus in enumerate(corpora) if corpus == name] for name in self.tokens}
        return {_log_name(name): per_row[rows[name]].sum() for name, tokens in self.tokens.items() if tokens}


def count_sources(
    trainer: Trainer, device: torch.device, examples: Sequence[Example], completions: Completions, split: str = "train"
) -> Sources | None:
    """Sources of completions; ``None`` if the data module has no mix of corpora.

    Args:
        trainer: Trainer of the run.
        device: Device of the rank.
        examples: Example of each completion.
        completions: Completions of this rank.
        split: Split of the examples.
    """
    data = data_module_of(trainer)
    names = data.corpus_names.get(split, ()) if isinstance(data, MixedData) else ()
    if not names:
        return None
    corpora = [example.corpus for example in examples]
    lengths = list(zip(corpora, map(len, completions.completions), strict=True))
    here = [sum(length for corpus, length in lengths if corpus == name) for name in names]
    counts = trainer.strategy.reduce(torch.tensor(here, dtype=torch.float64, device=device), reduce_op="sum")
    return Sources(corpora, dict(zip(names, counts.tolist(), strict=True)), trainer.world_size)


def _log_name(corpus: str) -> str:
    return f"loss/{corpus}"
