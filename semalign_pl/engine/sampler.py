"""Sampling of tokens: temperature, top-k, nucleus and min-p, without sorting the vocabulary."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

Sampler = Callable[
    [Float[Tensor, "completions vocabulary"], Float[Tensor, " completions"]], Int[Tensor, " completions"]
]
"""Function from logits and uniform draws to token ids."""
CANDIDATES = (512, 8192)
"""Numbers of most likely tokens per row among which a token is drawn: in all rows, then in those that need more."""
TOLERANCE = 4e-6
"""Probability by which float32 may differ between two orders of summation over a vocabulary."""
SORTED_ELEMENTS = 2**22
"""Number of logits that are sorted at once: rows that need it are sorted in chunks, which bounds memory."""


def make_sampler(temperature: float, top_p: float = 1.0, top_k: int = 0, min_p: float = 0.0) -> Sampler:
    """Return a sampler; options as in transformers."""
    if temperature == 0.0:
        return lambda logits, _: logits.argmax(-1)
    return TruncatedSampler(temperature, top_p, top_k, min_p)


@dataclass(frozen=True)
class TruncatedSampler:
    """Sampler that keeps some tokens per row and draws one of them.

    Few tokens are kept as a rule, so the most likely ``CANDIDATES`` of each row are enough, next to the sum over the
    whole row. Rows for which they are not are sorted: the distribution is too flat, or a decision depends on rounding
    or on the order of equal logits. Every row therefore gets the token that sorting all rows would give.

    Attributes:
        temperature: Sampling temperature.
        top_p: Nucleus, 1 for none.
        top_k: Number of most likely tokens, 0 for all.
        min_p: Fraction of the most likely token's probability, 0 for none.
    """

    temperature: float
    top_p: float
    top_k: int
    min_p: float

    def __call__(
        self, logits: Float[Tensor, "completions vocabulary"], uniforms: Float[Tensor, " completions"]
    ) -> Int[Tensor, " completions"]:
        """Draw a token per row.

        Args:
            logits: Logits in any precision.
            uniforms: Uniform draws in [0, 1], float32.
        """
        if not (self.top_p < 1.0 or self.top_k > 0 or self.min_p > 0.0):
            return inverse_cdf(_scale(logits, self.temperature).softmax(-1), uniforms)
        if logits.device.type not in ("cpu", "meta"):
            return self.sort(logits, uniforms)  # a GPU sorts in less time than it takes to find out who needs it
        few, more = CANDIDATES
        size = max(1, SORTED_ELEMENTS // logits.shape[1])
        chosen, certain = self._among_candidates(logits, uniforms, few)
        # The only wait for the device. On the meta device, for a prediction of memory, one chunk goes on.
        rows = torch.arange(size, device="meta") if logits.is_meta else (~certain).nonzero().squeeze(1)
        for left in rows[: len(logits)].split(size):
            chosen[left], certain = self._among_candidates(logits[left], uniforms[left], more)
            left = left if logits.is_meta else left[~certain]
            if len(left):
                chosen[left] = self.sort(logits[left], uniforms[left])
        return chosen

    def sort(self, logits: Tensor, uniforms: Tensor) -> Int[Tensor, " completions"]:
        """Draw a token per row by transformers' warpers, which sort the vocabulary.

        Args:
            logits: Logits in any precision.
            uniforms: Uniform draws in [0, 1], float32.
        """
        from transformers import MinPLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

        scores = _scale(logits, self.temperature)
        ids = torch.LongTensor()  # these warpers do not use the previous tokens
        if self.top_k > 0:
            scores = TopKLogitsWarper(self.top_k)(ids, scores)
        if self.top_p < 1.0:
            scores = TopPLogitsWarper(self.top_p)(ids, scores)
        if self.min_p > 0.0:
            scores = MinPLogitsWarper(self.min_p)(ids, scores)
        return inverse_cdf(scores.softmax(-1), uniforms)

    def _among_candidates(
        self, logits: Tensor, uniforms: Tensor, candidates: int
    ) -> tuple[Int[Tensor, " completions"], Bool[Tensor, " completions"]]:
        """Token per row from the most likely ones, and whether it is certainly the one that sorting gives."""
        vocabulary = logits.shape[1]
        width = min(vocabulary, max(candidates, 2 * self.top_k))
        best, ids = logits.topk(width)
        best = _scale(best, self.temperature)
        # 1. Unnormalised probabilities, with that of the most likely token equal to 1; in float64, 512 of them.
        weights = (best - best[:, :1]).double().exp_()
        if 0 < self.top_k < width:
            # Tokens as likely as the last of the k are kept too; the total lacks those beyond the candidates.
            last = best[:, self.top_k - 1 : self.top_k]
            complete = (best[:, -1:] < last) | (weights[:, -1:] == 0)
            unsure = ~complete
            total = weights.masked_fill_(best < last, 0.0).sum(-1, keepdim=True)
        else:
            complete = torch.full_like(best[:, :1], width == vocabulary, dtype=torch.bool)
            unsure = torch.zeros_like(complete)
            scores = _scale(logits, self.temperature)
            total = scores.sub_(best[:, :1]).exp_().sum(-1, keepdim=True, dtype=torch.float64)
        # 2. Nucleus: a token is kept if less than top_p is more likely. Of equal logits, sorting decides which go.
        kept = weights > 0
        if self.top_p < 1.0:
            before = (weights.cumsum(-1) - weights) / total
            kept &= before < self.top_p
            complete |= ~kept[:, -1:]
            out = kept.sum(-1, keepdim=True).clamp_(1, width - 1)
            unsure |= ~kept[:, -1:] & (best.gather(1, out) == best.gather(1, out - 1))
            unsure |= ((before - self.top_p).abs() < TOLERANCE).any(-1, keepdim=True)
        # 3. The most likely token has a weight of 1, so weights are the fractions that min_p is compared with.
        if self.min_p > 0.0:
            kept &= weights >= self.min_p
            complete |= ~kept[:, -1:]
            unsure |= ((weights / self.min_p - 1).abs() < TOLERANCE).any(-1, keepdim=True)
        # 4. Inverse of the cumulative distribution in the order of token ids, as over the whole vocabulary.
        ids, order = ids.masked_fill(~kept, vocabulary).sort(-1)
        cumulative = weights.masked_fill_(~kept, 0.0).gather(1, order).cumsum_(-1)
        total = cumulative[:, -1:]
        target = uniforms.unsqueeze(1) * total
        place = torch.searchsorted(cumulative, target, right=True)
        # At a border between two tokens rounding decides; the last border is none. A total of 0 comes from NaN.
        unsure |= (((cumulative - target).abs() < TOLERANCE * total) & (cumulative < total)).any(-1, keepdim=True)
        unsure |= (target >= total) | ~(total > 0)
        chosen = ids.gather(1, place.minimum(kept.sum(-1, keepdim=True) - 1).clamp_(min=0))
        return chosen.squeeze(1), (complete & ~unsure).squeeze(1)


def _scale(logits: Tensor, temperature: float) -> Tensor:
    """Float32 copy of logits, divided by the temperature."""
    if logits.dtype == torch.float32:
        return logits / temperature
    return logits.float().div_(temperature)


def inverse_cdf(
    probabilities: Float[Tensor, "completions vocabulary"], uniforms: Float[Tensor, " completions"]
) -> Int[Tensor, " completions"]:
    """Token at which the cumulative probability first exceeds ``uniforms``; never one of probability 0.

    Args:
        probabilities: Probabilities of the tokens, float32.
        uniforms: Uniform draws in [0, 1], float32.

    Returns:
        Token id per completion.
    """
    cumulative = probabilities.cumsum(-1)
    # Rounding may leave the last value next to 1: scale the draw to it and stay below it, so that some value exceeds.
    total = cumulative[:, -1]
    targets = (uniforms * total).minimum(total.nextafter(torch.zeros_like(total)))
    return torch.searchsorted(cumulative, targets.unsqueeze(1), right=True).squeeze(1)
