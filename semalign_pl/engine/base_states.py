"""Last hidden states of the base model on fixed texts, computed once for many adapters."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.text_states import text_states

MAX_BYTES = 256 * 2**20
"""Memory for states of the base, 256 MiB: 100,000 tokens of a base with 1,280 dimensions in bfloat16."""


class BaseStates:
    """Last hidden states of the base, without any adapter, on groups of texts that are used again and again.

    They are kept on the CPU, by the token ids of a group. Logits are not: the head computes them from the states, and
    they are often a hundred times as large. A group is forwarded and kept whole, so that its states are the same to the
    last digit, kept or computed again: a resumed run equals an uninterrupted one. Groups beyond the memory limit are
    computed each time.

    Args:
        max_bytes: Maximum size of what is kept, in bytes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._groups: dict[tuple[tuple[int, ...], ...], list[Tensor]] = {}
        self._model: weakref.ref[torch.nn.Module] | None = None
        self._weights: tuple[object, ...] = ()

    def check_base(self, policy: CausalPolicy) -> None:
        """Forget everything if the policy's base is not the one of the last call, or its weights have changed.

        Args:
            policy: Policy to compare next.
        """
        model, weights = policy.causal_lm, _base_weights(policy)
        if self._model is None or self._model() is not model or self._weights != weights:
            self._groups.clear()
            self._bytes = 0
            self._model, self._weights = weakref.ref(model), weights

    def __call__(self, policy: CausalPolicy, texts: Sequence[Sequence[int]]) -> list[Float[Tensor, "tokens hidden"]]:
        """Last hidden states that predict each token of a text but the first.

        Args:
            policy: Policy, acting in any role and mode. If the weights of its base may have changed since the last
                call, call ``check_base`` before.
            texts: Group of texts to forward together: token ids, at least two per text.

        Returns:
            States per text, without gradient, on the policy's device.
        """
        if self._model is None or self._model() is not policy.causal_lm:
            self.check_base(policy)
        group = tuple(map(tuple, texts))
        states = self._groups.get(group)
        if states is None:
            with policy.inference(), policy.acting_as("base"):
                states = text_states(policy, texts)
            size = sum(of_one.nbytes for of_one in states)
            if self._bytes + size <= self.max_bytes:
                states = [of_one.to("cpu", copy=True) for of_one in states]  # a view would keep the states of all texts
                self._groups[group] = states
                self._bytes += size
        return [of_one.to(policy.device) for of_one in states]


def _base_weights(policy: CausalPolicy) -> tuple[object, ...]:
    """Version, shape and some values of each weight that is not an adapter's.

    They differ after any change in place, and if other weights replace these. They are equal after a move to another
    device: Lightning moves the model to the CPU after each test, and back before the next.
    """
    adapters = set(policy.model.peft_config)
    return tuple(
        (0 if weight.is_inference() else weight._version, weight.shape, _sample(weight.data))
        for name, weight in policy.causal_lm.named_parameters()
        if not adapters & set(name.split("."))
    )


def _sample(weight: Tensor) -> list[float]:
    """At most eight values, evenly spaced."""
    flat = weight.flatten()
    return flat[:: len(flat) // 8 + 1].tolist()
