"""Log-probs of given completions: each distinct prompt is forwarded once, with gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from semalign_pl.engine.completion_states import CompletionStates
from semalign_pl.engine.micro_batches import Completions, MicroBatch, micro_batches
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.prompt_cache import Padding
from semalign_pl.engine.target_divergence import target_divergence


@dataclass(frozen=True)
class CompletionLogprobs:
    """Log-probs, entropy and divergence of some completions, float32 in nats, padded on the right with zeros.

    Attributes:
        indices: Index of each completion among those of the step.
        lengths: Number of tokens of each completion.
        logps: Log-probs.
        entropy: Entropy, without gradient.
        divergence: Divergence from the completion's target, with gradient; zeros for a completion without a target.
        mask: Completion mask.
    """

    indices: list[int]
    lengths: list[int]
    logps: Float[Tensor, "completions tokens"]
    entropy: Float[Tensor, "completions tokens"]
    divergence: Float[Tensor, "completions tokens"]
    mask: Bool[Tensor, "completions tokens"]

    def select(self, first: int, count: int) -> CompletionLogprobs:
        """Select the completions of one batch among those of the step, and count their indices from its start.

        Args:
            first: Index of the batch's first completion in the step.
            count: Number of completions of the batch.
        """
        chosen = [place for place, index in enumerate(self.indices) if first <= index < first + count]
        indices = [self.indices[place] - first for place in chosen]
        if len(chosen) == len(self.indices):
            return replace(self, indices=indices)
        # Padded to the longest of the chosen ones, so that other tensors of the batch have the same width.
        lengths = [self.lengths[place] for place in chosen]
        at = torch.tensor(chosen, device=self.logps.device, dtype=torch.long)
        padded = (self.logps, self.entropy, self.divergence, self.mask)
        own = (x.index_select(0, at)[:, : max(lengths, default=0)] for x in padded)
        return CompletionLogprobs(indices, lengths, *own)

    def double(self) -> CompletionLogprobs:
        """Return the same values as float64, for sums over many chunks."""
        doubled = (self.logps.double(), self.entropy.double(), self.divergence.double())
        return CompletionLogprobs(self.indices, self.lengths, *doubled, self.mask)


class LogprobScorer:
    """Scorer of one micro-batch: log-probs chunk by chunk; with gradients, call ``backward`` at the end.

    The constructor forwards the prompts, see ``CompletionStates``.

    Args:
        policy: Model to use; set train or eval mode and the active adapter first.
        completions: Completions of the whole step.
        batch: Micro-batch of these completions.
        recompute: Flag to compute each layer's activations again in backward instead of keeping them.
    """

    def __init__(
        self, policy: CausalPolicy, completions: Completions, batch: MicroBatch, recompute: bool = False
    ) -> None:
        self.policy, self.completions = policy, completions
        self._states = CompletionStates(policy, completions, batch, recompute)

    def __call__(self, chunk: list[list[int]]) -> CompletionLogprobs:
        """Compute the log-probs of one chunk, and the divergence from the completions' targets.

        Args:
            chunk: One of ``batch.chunks``.
        """
        indices = [index for group in chunk for index in group]
        completions = [self.completions.completions[index] for index in indices]
        device, temperatures = self.policy.device, self.completions.temperatures
        ids = torch.tensor([token for completion in completions for token in completion], device=device)
        lengths = [len(completion) for completion in completions]
        divisors = torch.tensor(
            [
                1.0 if temperatures is None else temperatures[index]
                for index, length in zip(indices, lengths, strict=True)
                for _ in range(length)
            ],
            device=device,
        )
        hidden = self._states(chunk)
        needed = self._needs_logprobs(indices)
        logps = entropy = torch.zeros(len(ids), device=device)
        if all(needed):
            logps, entropy = self.policy.logprobs(hidden, ids, divisors)
        elif any(needed):
            tokens = [need for need, length in zip(needed, lengths, strict=True) for _ in range(length)]
            at = torch.tensor(tokens, device=device).nonzero().squeeze(1)
            of_some = self.policy.logprobs(hidden[at], ids[at], divisors[at])
            logps, entropy = (torch.zeros_like(logps).index_put((at,), values) for values in of_some)
        divergence = torch.zeros_like(logps)
        if self.completions.targets is not None:
            divergence = target_divergence(self.policy, self.completions, indices, hidden, ids, divisors, logps)
        padding = Padding(lengths, device)
        logps, entropy, divergence = (padding.pad(values) for values in (logps, entropy.detach(), divergence))
        return CompletionLogprobs(indices, lengths, logps, entropy, divergence, padding.mask)

    def _needs_logprobs(self, indices: list[int]) -> list[bool]:
        """Flag per completion: false if its target does without the log-probs of the tokens."""
        targets = self.completions.targets or [None] * len(self.completions)
        return [target is None or target.logprobs for target in (targets[index] for index in indices)]

    def backward(self) -> None:
        """Send the gradients summed at the prompts through the prompts; once, after the backward of every chunk."""
        self._states.backward()


@torch.no_grad()
def compute_logprobs(
    policy: CausalPolicy, completions: Completions, budget: int
) -> Float[Tensor, "completions tokens"]:
    """Log-probs of completions, without gradient and dropout.

    Args:
        policy: Model to use; set the active adapter first.
        completions: Completions to forward; their targets are not used.
        budget: Maximum number of tokens per forward.

    Returns:
        Log-probs, float32 in nats, padded on the right with zeros.
    """
    completions = replace(completions, targets=None)
    longest = max(map(len, completions.completions), default=0)
    logps = torch.zeros((len(completions), longest), device=policy.device)
    with policy.inference():
        for batch in micro_batches(completions, budget):
            scorer = LogprobScorer(policy, completions, batch)
            for chunk in batch.chunks:
                computed = scorer(chunk)
                logps[computed.indices, : computed.logps.shape[1]] = computed.logps
    return logps
