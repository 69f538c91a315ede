"""Log-probabilities of given completions: each distinct prompt is forwarded once, and gradients flow through it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from semalign_pl.policy.batching import MicroBatch, Rows, micro_batches
from semalign_pl.policy.layout import Continuations, Padding, Sequences, decode
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.recompute import recomputation
from semalign_pl.policy.unshared import unshared_hidden


@dataclass(frozen=True)
class Scored:
    """Numbers of some rows, padded on the right with zeros.

    Attributes:
        rows: ``(rows,)`` int64: which of the step's rows these are.
        logps: ``(rows, tokens)`` float32, in nats.
        entropy: ``(rows, tokens)`` float32, in nats, without gradient.
        mask: ``(rows, tokens)`` bool, true on completion tokens.
    """

    rows: Tensor
    logps: Tensor
    entropy: Tensor
    mask: Tensor

    def select(self, chosen: Tensor) -> Scored:
        """Some of the rows.

        Args:
            chosen: ``(rows,)`` bool.
        """
        return Scored(self.rows[chosen], self.logps[chosen], self.entropy[chosen], self.mask[chosen])


class Scorer:
    """Scores one micro-batch part by part; with gradients, ``backward`` ends it.

    The prompts are forwarded when the scorer is made. A part's backward stops at the prompts' keys, values and last
    hidden states, where the gradients of all parts gather; ``backward`` sends their sum through the prompts, once.

    Args:
        policy: In the mode and role the caller has set.
        rows: The step's rows.
        batch: Which of them to score.
        recompute: Compute each layer's activations again in backward instead of keeping them.
    """

    def __init__(self, policy: Policy, rows: Rows, batch: MicroBatch, recompute: bool = False) -> None:
        self.policy, self.all_rows, self.batch, self.recompute = policy, rows, batch, recompute
        self._outputs: list[Tensor] = []
        self._leaves: list[Tensor] = []
        if policy.cannot_share is None:
            layout = Sequences(batch.prompts, policy.device, keep=True)
            assert layout.prefix is not None
            self._prefix = layout.prefix
            with recomputation(policy.decoder, recompute):
                last = decode(policy, layout)[layout.last]
            self._last = self._gather(last)
            for kept in (self._prefix.keys, self._prefix.values):
                for layer, tensor in kept.items():
                    kept[layer] = self._gather(tensor)

    def _gather(self, tensor: Tensor) -> Tensor:
        """A leaf in the tensor's place, if gradients flow."""
        if not tensor.requires_grad:
            return tensor
        self._outputs.append(tensor)
        self._leaves.append(tensor.detach().requires_grad_())
        return self._leaves[-1]

    def __call__(self, part: list[list[int]]) -> Scored:
        """Score one part.

        Args:
            part: One of ``batch.parts``.
        """
        members = [row for group in part for row in group]
        completions = [self.all_rows.completions[row] for row in members]
        device = self.policy.device
        ids = torch.tensor([token for completion in completions for token in completion], device=device)
        lengths = [len(completion) for completion in completions]
        divisors = self.all_rows.temperatures
        divided = [
            1.0 if divisors is None else divisors[row] for row in members for _ in self.all_rows.completions[row]
        ]
        temperatures = torch.tensor(divided, device=device)
        if self.policy.cannot_share is None:
            hidden = self._hidden(part)
        else:
            with recomputation(self.policy.decoder, self.recompute, flat=False):
                hidden = unshared_hidden(self.policy, [self.all_rows.prompts[row] for row in members], completions)
        logps, spread = self.policy.logprobs(hidden, ids, temperatures)
        padding = Padding(lengths, device)
        rows = torch.tensor(members, device=device)
        return Scored(rows, padding.pad(logps), padding.pad(spread.detach()), padding.mask)

    def _hidden(self, part: list[list[int]]) -> Tensor:
        """The state that predicts each completion token: the first is predicted by the prompt's last."""
        group_of = [group for group, members in enumerate(part) for _ in members]
        fed = [[self.all_rows.completions[row][:-1] for row in members] for members in part]
        # A row of one token feeds nothing; it is predicted from its prompt alone.
        standing = [[ids for ids in group if ids] for group in fed]
        hidden = self._last
        if any(standing):
            with recomputation(self.policy.decoder, self.recompute):
                hidden = torch.cat(
                    [
                        hidden,
                        decode(self.policy, Continuations(self._prefix, list(map(len, self.batch.prompts)), standing)),
                    ]
                )
        source, place = [], len(self._last)
        for group, ids in zip(group_of, (ids for members in fed for ids in members), strict=True):
            source += [group, *range(place, place + len(ids))]
            place += len(ids)
        return hidden.index_select(0, torch.tensor(source, device=hidden.device))

    def backward(self) -> None:
        """Send what has gathered at the prompts through them; once, after every part's own backward."""
        pairs = [(o, leaf.grad) for o, leaf in zip(self._outputs, self._leaves, strict=True) if leaf.grad is not None]
        if pairs:
            torch.autograd.backward([output for output, _ in pairs], [gradient for _, gradient in pairs])


@torch.no_grad()
def score_all(policy: Policy, rows: Rows, budget: int) -> Tensor:
    """Log-probabilities without gradient or dropout.

    Args:
        policy: In the role the caller has set.
        rows: What to score.
        budget: Tokens forwarded at once.

    Returns:
        ``(rows, tokens)`` float32 in nats, padded on the right with zeros.
    """
    longest = max(map(len, rows.completions), default=0)
    logps = torch.zeros((len(rows.prompts), longest), device=policy.device)
    with policy.inference():
        for batch in micro_batches(rows, budget):
            scorer = Scorer(policy, rows, batch)
            for part in batch.parts:
                scored = scorer(part)
                logps[scored.rows, : scored.logps.shape[1]] = scored.logps
    return logps
