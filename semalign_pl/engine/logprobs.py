"""Log-probs of given completions: each distinct prompt is forwarded once, with gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from semalign_pl.engine.fallback import unshared_hidden
from semalign_pl.engine.micro_batches import Completions, MicroBatch, micro_batches
from semalign_pl.engine.packed_batch import PackedCompletions, PackedSequences, Padding, decode
from semalign_pl.engine.recompute import recomputation

if TYPE_CHECKING:
    from semalign_pl.policy.policy import Policy


@dataclass(frozen=True)
class CompletionLogprobs:
    """Log-probs and entropy of some rows, padded on the right with zeros.

    Attributes:
        rows: Indices of the rows in the step, ``(rows,)`` int64.
        logps: Log-probs, ``(rows, tokens)`` float32, in nats.
        entropy: Entropy, ``(rows, tokens)`` float32, in nats, without gradient.
        mask: Completion mask, ``(rows, tokens)`` bool.
    """

    rows: Tensor
    logps: Tensor
    entropy: Tensor
    mask: Tensor

    def select(self, chosen: Tensor) -> CompletionLogprobs:
        """Select rows.

        Args:
            chosen: Mask of the rows, ``(rows,)`` bool.
        """
        return CompletionLogprobs(self.rows[chosen], self.logps[chosen], self.entropy[chosen], self.mask[chosen])


class LogprobScorer:
    """Computes the log-probs of one micro-batch, chunk by chunk; with gradients, call ``backward`` at the end.

    The constructor forwards the prompts. A chunk's backward stops at the prompts' keys, values and last hidden states,
    where the gradients of all chunks are summed; ``backward`` then sends the sum through the prompts, once.

    Args:
        policy: Model to use; set train or eval mode and the active adapter first.
        rows: Completions of the whole step.
        batch: Micro-batch of these rows.
        recompute: Compute each layer's activations again in backward instead of keeping them.
    """

    def __init__(self, policy: Policy, rows: Completions, batch: MicroBatch, recompute: bool = False) -> None:
        self.policy, self.all_rows, self.batch, self.recompute = policy, rows, batch, recompute
        self._outputs: list[Tensor] = []
        self._leaves: list[Tensor] = []
        if policy.prefix_sharing_unsupported_reason is None:
            layout = PackedSequences(batch.prompts, policy.device, keep=True)
            assert layout.prompt_cache is not None
            self._prompt_cache = layout.prompt_cache
            with recomputation(policy.decoder, recompute):
                last = decode(policy, layout)[layout.last]
            self._last = self._gather(last)
            # Chunks get leaves in place of the prompts' tensors, so that their gradients stop and are summed there.
            for kept in (self._prompt_cache.keys, self._prompt_cache.values):
                for layer, tensor in kept.items():
                    kept[layer] = self._gather(tensor)

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
        members = [row for group in chunk for row in group]
        completions = [self.all_rows.completions[row] for row in members]
        device = self.policy.device
        ids = torch.tensor([token for completion in completions for token in completion], device=device)
        lengths = [len(completion) for completion in completions]
        divisors = self.all_rows.temperatures
        divided = [
            1.0 if divisors is None else divisors[row] for row in members for _ in self.all_rows.completions[row]
        ]
        temperatures = torch.tensor(divided, device=device)
        if self.policy.prefix_sharing_unsupported_reason is None:
            hidden = self._hidden(chunk)
        else:
            with recomputation(self.policy.decoder, self.recompute, flat=False):
                hidden = unshared_hidden(self.policy, [self.all_rows.prompts[row] for row in members], completions)
        logps, spread = self.policy.logprobs(hidden, ids, temperatures)
        padding = Padding(lengths, device)
        rows = torch.tensor(members, device=device)
        return CompletionLogprobs(rows, padding.pad(logps), padding.pad(spread.detach()), padding.mask)

    def _hidden(self, chunk: list[list[int]]) -> Tensor:
        """Hidden states that predict each completion token, ``(tokens, hidden)``."""
        # The prompt's last state predicts the first token. A completion's last token predicts nothing: it is not fed.
        inputs = [[self.all_rows.completions[row][:-1] for row in members] for members in chunk]
        # A completion of one token has no input: its prompt alone predicts it.
        not_empty = [[ids for ids in group if ids] for group in inputs]
        hidden = self._last
        if any(not_empty):
            packed = PackedCompletions(self._prompt_cache, list(map(len, self.batch.prompts)), not_empty)
            with recomputation(self.policy.decoder, self.recompute):
                hidden = torch.cat([hidden, decode(self.policy, packed)])
        # Row by row: the prompt's last state, then the states of the completion's own inputs.
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
def compute_logprobs(policy: Policy, rows: Completions, budget: int) -> Tensor:
    """Log-probs of completions, without gradient and dropout.

    Args:
        policy: Model to use; set the active adapter first.
        rows: Completions to forward.
        budget: Maximum number of tokens per forward.

    Returns:
        Log-probs ``(rows, tokens)`` float32 in nats, padded on the right with zeros.
    """
    longest = max(map(len, rows.completions), default=0)
    logps = torch.zeros((len(rows.prompts), longest), device=policy.device)
    with policy.inference():
        for batch in micro_batches(rows, budget):
            scorer = LogprobScorer(policy, rows, batch)
            for chunk in batch.chunks:
                computed = scorer(chunk)
                logps[computed.rows, : computed.logps.shape[1]] = computed.logps
    return logps
