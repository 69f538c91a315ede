"""Terms of a loss: each has completions of its own, and adds its weighted mean to the loss of the step.

To add an objective, subclass ``LossTerm``, and add the new term to the list that a module gives to ``optimise``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.logprobs import CompletionLogprobs, LogprobScorer
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.functional.losses import LossOutputs, nll_sum
from semalign_pl.functional.token_weights import TokenWeight, token_weights
from semalign_pl.modules.sources import Sources
from semalign_pl.modules.stage import SumAndCount


@dataclass(frozen=True, kw_only=True)
class LossTerm(ABC):
    """One named term of a step's loss: ``weight * sum over chunks / denominator``.

    A term is called with the log-probs of one chunk of its completions at a time, and returns sums over them. The
    module adds the terms, runs backward per chunk, and logs the term's values per token under ``train/``.

    Attributes:
        name: Name under which the term's value, without its weight, is logged if the loss has several terms.
        completions: Completions to forward, with their prompts.
        denominator: Divisor of the summed loss, the same for all chunks of the step. It is also the same on all ranks,
            except for bnpo, whose mean is over the tokens of each rank.
        weight: Factor on the term.
        logged: Names of the values that the term logs as means per token, the keys of ``LossOutputs.token_sums``.
    """

    name: str
    completions: Completions
    denominator: float
    weight: float = 1.0
    logged: ClassVar[tuple[str, ...]] = ()

    @property
    def log_denominators(self) -> Mapping[str, float]:
        """Divisor of each value in ``LossOutputs.token_sums`` by log name; those in ``logged`` are means per token.

        Both are summed over ranks before the division, whose result is NaN where no rank has a token.
        """
        return dict.fromkeys(self.logged, float(self.completions.tokens))

    @abstractmethod
    def __call__(self, logprobs: CompletionLogprobs) -> LossOutputs:
        """Sum the term over one chunk of its completions.

        Args:
            logprobs: Log-probs of the chunk, with gradient; ``indices`` are places in ``completions``.
        """


@dataclass(frozen=True, kw_only=True)
class NLLTerm(LossTerm):
    """Negative log-likelihood of completions: SFT's loss. The denominator is the number of tokens on all ranks.

    Attributes:
        token_weight: Weight of each token (``functional/token_weights.py`` has the papers).
        talr_temperature: Temperature of the weights ``talr``.
        sources: Corpora of the completions, to log the NLL per token of each, without weights; ``None`` logs none.
    """

    token_weight: TokenWeight = "none"
    talr_temperature: float = 1.0
    sources: Sources | None = None

    @property
    def log_denominators(self) -> Mapping[str, float]:
        """Divisor of the values per token, and of the loss of each corpus."""
        return {**super().log_denominators, **(self.sources.denominators if self.sources else {})}

    def __call__(self, logprobs: CompletionLogprobs) -> LossOutputs:
        """Sum the NLL of the chunk's completion tokens, each times its weight, in nats."""
        of_sources = self.sources.nll(logprobs) if self.sources else {}
        weights = token_weights(self.token_weight, logprobs.logps, logprobs.entropy, self.talr_temperature)
        return LossOutputs(nll_sum(weights * logprobs.logps, logprobs.mask), of_sources)


class StepLoss:
    """Loss of one step: the weighted sum of its terms, chunk by chunk, and the values to log.

    Completions of different terms with the same prompt are in one micro-batch, so that the prompt is forwarded once.
    Terms that are given the same ``Completions`` object share one forward of it.

    Args:
        terms: Terms of the loss, at least one.
        updates: Number of optimiser steps on these terms, over which the values to log are averaged.
        ranks: Number of ranks, each of which has its share of the loss.
        device: Device of the values.

    Attributes:
        completions: Completions of all terms.
    """

    def __init__(self, terms: Sequence[LossTerm], updates: int, ranks: int, device: torch.device) -> None:
        self.terms = terms
        batches = list({id(term.completions): term.completions for term in terms}.values())
        self.completions = Completions.concatenate(batches)
        starts = dict(zip(map(id, batches), accumulate(map(len, batches), initial=0), strict=False))
        self._starts = [starts[id(term.completions)] for term in terms]
        of_terms = [term.name for term in terms] if len(terms) > 1 else []
        self._logged = [term.log_denominators for term in terms]
        names = ["loss", *of_terms, *(name for logged in self._logged for name in logged)]
        if len(set(names)) < len(names):
            raise ValueError(f"loss terms: two values would be logged as one name: {', '.join(names)}; rename a term")
        # All names on every rank from the start: a rank without completions must log them too.
        self._sums: dict[str, Float[Tensor, ""]] = {name: torch.zeros((), device=device) for name in names}
        # Losses are divided by the denominators of all ranks, so the division adds them up.
        self._counts = dict.fromkeys(names, updates / ranks)
        for logged in self._logged:
            self._counts |= {name: denominator * updates for name, denominator in logged.items()}

    @property
    def values(self) -> dict[str, SumAndCount]:
        """Sum and number of this rank's values by log name; the means over all ranks are logged.

        They are ``loss``, each term if there are several, and the terms' values per token.
        """
        return {name: (value, self._counts[name]) for name, value in self._sums.items()}

    def __call__(self, logprobs: CompletionLogprobs) -> Float[Tensor, ""]:
        """Loss of one chunk with gradient, divided by the denominators of the step; adds its values to ``values``.

        Args:
            logprobs: Log-probs of the chunk; ``indices`` are places in ``completions``.
        """
        losses: list[Tensor] = []
        for term, start, logged in zip(self.terms, self._starts, self._logged, strict=True):
            selected = logprobs.select(start, len(term.completions))
            if not selected.indices:
                continue
            outputs = term(selected)
            losses.append(term.weight * outputs.loss / term.denominator)
            if len(self.terms) > 1:
                self._sums[term.name] += outputs.loss.detach() / term.denominator
            for name in logged:
                self._sums[name] += outputs.token_sums[name].detach()
        loss = torch.stack(losses).sum()
        self._sums["loss"] += loss.detach()
        return loss


@torch.no_grad()
def sum_without_gradient(policy: CausalPolicy, term: LossTerm, budget: int) -> float:
    """Loss of a term summed over its completions, in float64, without gradient and dropout; not divided.

    Args:
        policy: Policy to measure; set the active adapter first.
        term: Term to sum.
        budget: Maximum number of tokens per forward.
    """
    total = 0.0
    with policy.inference():
        for batch in micro_batches(term.completions, budget):
            scorer = LogprobScorer(policy, term.completions, batch)
            for chunk in batch.chunks:
                total += float(term(scorer(chunk).double()).loss)
    return total
