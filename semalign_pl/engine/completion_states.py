"""Last hidden states that predict given completions: each distinct prompt is forwarded once, with gradients."""

from __future__ import annotations

import itertools

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.fallback import unshared_hidden
from semalign_pl.engine.micro_batches import Completions, MicroBatch, micro_batches
from semalign_pl.engine.model import CausalPolicy, Role
from semalign_pl.engine.packed_batch import (
    PackedBatch,
    PackedCompletions,
    PackedGroups,
    PackedSequences,
    decode,
)
from semalign_pl.engine.recompute import recomputation
from semalign_pl.engine.shared_prefixes import shared_head


class CompletionStates:
    """Hidden states of one micro-batch, chunk by chunk; with gradients, call ``backward`` at the end.

    A single chunk is forwarded together with its prompts; what all prompts begin with is forwarded once, if it pays
    (`shared_head`). For several chunks, the constructor forwards the prompts. A
    chunk's backward then stops at the prompts' keys, values and last hidden states, where the gradients of all chunks
    are summed; ``backward`` sends the sum through the prompts, once.

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
        if policy.prefix_sharing_unsupported_reason is None and len(batch.chunks) > 1:
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

    def __call__(self, chunk: list[list[int]]) -> Float[Tensor, "tokens hidden"]:
        """Compute the hidden states that predict each token of a chunk, completion after completion.

        Args:
            chunk: One of ``batch.chunks``.
        """
        if self.policy.prefix_sharing_unsupported_reason is not None:
            indices = [index for group in chunk for index in group]
            prompts, completions = self.completions.prompts, self.completions.completions
            with recomputation(self.policy.decoder, self.recompute, packed=False):
                return unshared_hidden(self.policy, [prompts[i] for i in indices], [completions[i] for i in indices])
        # The prompt's last state predicts the first token. A completion's last token predicts nothing: it is not fed.
        inputs = [[self.completions.completions[index][:-1] for index in members] for members in chunk]
        # A completion of one token has no input: its prompt alone predicts it.
        not_empty = [[ids for ids in group if ids] for group in inputs]
        if len(self.batch.chunks) == 1:
            return self._with_prompts(inputs, not_empty)
        hidden = self._last
        if any(not_empty):
            packed = PackedCompletions(self._prompt_cache, list(map(len, self.batch.prompts)), not_empty)
            with recomputation(self.policy.decoder, self.recompute):
                hidden = torch.cat([hidden, decode(self.policy, packed)])
        return hidden.index_select(0, _predicting(list(range(len(self._last))), len(self._last), inputs, hidden.device))

    def _with_prompts(self, inputs: list[list[list[int]]], not_empty: list[list[list[int]]]) -> Tensor:
        """Forward prompts and inputs of their completions together: half the operations of two forwards."""
        prompts, device = self.batch.prompts, self.policy.device
        packed: PackedBatch
        if all(len(group) == 1 for group in inputs):
            # No prompt is shared, so a prompt and its completion are one sequence, or its end if all begin alike.
            rows = [prompt + ids for prompt, (ids,) in zip(prompts, inputs, strict=True)]
            head = shared_head(prompts, rows)
            own = [row[head:] for row in rows]
            packed = PackedGroups([rows[0][:head]], [own], device) if head else PackedSequences(rows, device)
            ends = itertools.islice(itertools.accumulate(map(len, own), initial=head), 1, None)
            lengths = [len(ids) for (ids,) in inputs]
            spans = [range(end - length - 1, end) for end, length in zip(ends, lengths, strict=True)]
            places = torch.tensor([place for span in spans for place in span], device=device)
        else:
            packed = PackedGroups(prompts, not_empty, device) if any(not_empty) else PackedSequences(prompts, device)
            ends = list(itertools.accumulate(map(len, prompts)))
            places = _predicting([end - 1 for end in ends], ends[-1], inputs, device)
        with recomputation(self.policy.decoder, self.recompute):
            return decode(self.policy, packed).index_select(0, places)

    def backward(self) -> None:
        """Send the gradients summed at the prompts through the prompts; once, after the backward of every chunk."""
        pairs = [(o, leaf.grad) for o, leaf in zip(self._outputs, self._leaves, strict=True) if leaf.grad is not None]
        if pairs:
            torch.autograd.backward([output for output, _ in pairs], [gradient for _, gradient in pairs])


def _predicting(last: list[int], first: int, inputs: list[list[list[int]]], device: torch.device) -> Tensor:
    """Places of the states that predict each completion: the prompt's last state, then those of its own inputs.

    Args:
        last: Place of each prompt's last state.
        first: Place of the first state of a completion.
        inputs: Inputs of each prompt's completions.
        device: Device of the states.
    """
    places = []
    for prompt, group in zip(last, inputs, strict=True):
        for ids in group:
            places += [prompt, *range(first, first + len(ids))]
            first += len(ids)
    return torch.tensor(places, device=device)


def states_of_role(
    policy: CausalPolicy, role: Role, completions: Completions, budget: int
) -> list[Float[Tensor, "tokens hidden"]]:
    """Hidden states that predict each token under the weights of a role, without gradient and dropout.

    Args:
        policy: Model to use.
        role: Weights to use.
        completions: Completions to forward; none empty.
        budget: Maximum number of tokens per forward.

    Returns:
        States per completion.
    """
    states: dict[int, Tensor] = {}
    with policy.acting_as(role), policy.inference():
        for batch in micro_batches(completions, budget):
            forward = CompletionStates(policy, completions, batch)
            for chunk in batch.chunks:
                indices = [index for group in chunk for index in group]
                lengths = [len(completions.completions[index]) for index in indices]
                states |= zip(indices, forward(chunk).split(lengths), strict=True)
    return [states[index] for index in range(len(completions))]
