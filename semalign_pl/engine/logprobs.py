"""Log-probs of given completions: each distinct prompt is forwarded once, with gradients."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from semalign_pl.engine.fallback import unshared_hidden
from semalign_pl.engine.micro_batches import Completions, MicroBatch, micro_batches
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.packed_batch import PackedCompletions, PackedSequences, Padding, decode
from semalign_pl.engine.recompute import recomputation


@dataclass(frozen=True)
class CompletionLogprobs:
    """Log-probs and entropy of some completions, float32 in nats, padded on the right with zeros.

    Attributes:
        indices: Index of each completion among those of the step.
        lengths: Number of tokens of each completion.
        logps: Log-probs.
        entropy: Entropy, without gradient.
        mask: Completion mask.
    """

    indices: list[int]
    lengths: list[int]
    logps: Float[Tensor, "completions tokens"]
    entropy: Float[Tensor, "completions tokens"]
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
        own = (x.index_select(0, at)[:, : max(lengths, default=0)] for x in (self.logps, self.entropy, self.mask))
        return CompletionLogprobs(indices, lengths, *own)

    def double(self) -> CompletionLogprobs:
        """Return the same values as float64, for sums over many chunks."""
        return replace(self, logps=self.logps.double(), entropy=self.entropy.double())


class LogprobScorer:
    """Scorer of one micro-batch: log-probs chunk by chunk; with gradients, call ``backward`` at the end.

    The constructor forwards the prompts. A chunk's backward stops at the prompts' keys, values and last hidden states,
    where the gradients of all chunks are summed; ``backward`` then sends the sum through the prompts, once.

    Args:
        policy: Model to use; set train or eval mode and the active adapter first.
        completions: Completions of the whole step.
        batch: Micro-batch of these completions.
        recompute: Flag to compute each layer's activations again in backward instead of keeping them.
    """

    def __init__(
        self, policy: CausalPolicy, completions: Completions, batch: MicroBatch, recompute: bool = False
    ) -> None:
        self.policy, self.completions, self.batch, self.recompute = policy, completions, batch, recompute
        self._outputs: list[Tensor] = []
        self._leaves: list[Tensor] = []
        if policy.prefix_sharing_unsupported_reason is None:
            packed = PackedSequences(batch.prompts, policy.device, keep=True)
            assert packed.prompt_cache is not None
            self._prompt_cache = packed.prompt_cache
            with recomputation(policy.decoder, recompute):
                last = decode(policy, packed)[packed.last]
            self._last = self._gather(last)
            # Chunks get leaves in place of the prompts' tensors, so that their gradients stop and are summed there.
            for cache in (self._prompt_cache.keys, self._prompt_cache.values):
                for layer, tensor in cache.items():
                    cache[layer] = self._gather(tensor)

    def _gather(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by a leaf that collects its gradient; without gradients, return the tensor itself."""
        if not tensor.requires_grad:
            return tensor
        self._outputs.append(tensor)
        self._leaves.append(tensor.detach().requires_grad_())
        return self._leaves[-1]

    def __call__(self, chunk: list[list[int]]) -> CompletionLogprobs:
        """Compute the log-probs of one chunk.

        Args:
            chunk: One of ``batch.chunks``.
        """
        indices = [index for group in chunk for index in group]
        completions = [self.completions.completions[index] for index in indices]
        device, temperatures = self.policy.device, self.completions.temperatures
        ids = torch.tensor([token for completion in completions for token in completion], device=device)
        lengths = [len(completion) for completion in completions]
        divisors = [
            1.0 if temperatures is None else temperatures[index]
            for index, length in zip(indices, lengths, strict=True)
            for _ in range(length)
        ]
        if self.policy.prefix_sharing_unsupported_reason is None:
            hidden = self._forward(chunk)
        else:
            with recomputation(self.policy.decoder, self.recompute, packed=False):
                hidden = unshared_hidden(self.policy, [self.completions.prompts[i] for i in indices], completions)
        logps, entropy = self.policy.logprobs(hidden, ids, torch.tensor(divisors, device=device))
        padding = Padding(lengths, device)
        return CompletionLogprobs(indices, lengths, padding.pad(logps), padding.pad(entropy.detach()), padding.mask)

    def _forward(self, chunk: list[list[int]]) -> Float[Tensor, "tokens hidden"]:
        """Hidden states that predict each completion token."""
        # The prompt's last state predicts the first token. A completion's last token predicts nothing: it is not fed.
        inputs = [[self.completions.completions[index][:-1] for index in members] for members in chunk]
        # A completion of one token has no input: its prompt alone predicts it.
        not_empty = [[ids for ids in group if ids] for group in inputs]
        hidden = self._last
        if any(not_empty):
            packed = PackedCompletions(self._prompt_cache, list(map(len, self.batch.prompts)), not_empty)
            with recomputation(self.policy.decoder, self.recompute):
                hidden = torch.cat([hidden, decode(self.policy, packed)])
        # Completion by completion: the prompt's last state, then the states of the completion's own inputs.
        group_of = [group for group, members in enumerate(chunk) for _ in members]
        source, place = [], len(self._last)
        for group, ids in zip(group_of, (ids for members in inputs for ids in members), strict=True):
            source += [group, *range(place, place + len(ids))]
            place += len(ids)
        return hidden.index_select(0, torch.tensor(source, device=hidden.device))

    def backward(self) -> None:
        """Send the gradients summed at the prompts through the prompts; once, after the backward of every chunk."""
        pairs = [(o, leaf.grad) for o, leaf in zip(self._outputs, self._leaves, strict=True) if leaf.grad is not None]
        if pairs:
            torch.autograd.backward([output for output, _ in pairs], [gradient for _, gradient in pairs])


@torch.no_grad()
def compute_logprobs(
    policy: CausalPolicy, completions: Completions, budget: int
) -> Float[Tensor, "completions tokens"]:
    """Log-probs of completions, without gradient and dropout.

    Args:
        policy: Model to use; set the active adapter first.
        completions: Completions to forward.
        budget: Maximum number of tokens per forward.

    Returns:
        Log-probs, float32 in nats, padded on the right with zeros.
    """
    longest = max(map(len, completions.completions), default=0)
    logps = torch.zeros((len(completions), longest), device=policy.device)
    with policy.inference():
        for batch in micro_batches(completions, budget):
            scorer = LogprobScorer(policy, completions, batch)
            for chunk in batch.chunks:
                computed = scorer(chunk)
                logps[computed.indices, : computed.logps.shape[1]] = computed.logps
    return logps
