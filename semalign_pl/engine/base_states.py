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
    """Last hidden states of the base, without any adapter, on texts that are compared again and again.

    They are kept on the CPU, by the token ids of each text. Logits are not: the head computes them from the states, and
    they are often a hundred times as large. Texts beyond the budget are computed each time.

    Args:
        max_bytes: Maximum size of what is kept, in bytes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._states: dict[tuple[int, ...], Tensor] = {}
        self._model: weakref.ref[torch.nn.Module] | None = None
        self._weights: tuple[object, ...] = ()

    def check_base(self, policy: CausalPolicy) -> None:
        """Forget everything if the policy's base is not the one of the last call, or its weights have changed.

        Args:
            policy: Policy to compare next.
        """
        model, weights = policy.causal_lm, _base_weights(policy)
        if self._model is None or self._model() is not model or self._weights != weights:
            self._states.clear()
            self._bytes = 0
            self._model, self._weights = weakref.ref(model), weights

    def __call__(self, policy: CausalPolicy, texts: Sequence[Sequence[int]]) -> list[Float[Tensor, "tokens hidden"]]:
        """Last hidden states that predict each token of a text but the first.

        Args:
            policy: Policy with the base of the last ``check_base``, acting in any role and mode.
            texts: Token ids, at least two per text. Those that are not kept are forwarded together.

        Returns:
            States per text, without gradient, on the policy's device.
        """
        kept = [self._states.get(tuple(ids)) for ids in texts]
        missing = [place for place, states in enumerate(kept) if states is None]
        if missing:
            with policy.inference(), policy.acting_as("base"):
                computed = text_states(policy, [texts[place] for place in missing])
            # All or none: texts that were forwarded together are forwarded together again, and get the same rounding.
            room = self._bytes + sum(states.nbytes for states in computed) <= self.max_bytes
            for place, states in zip(missing, computed, strict=True):
                kept[place] = states
                if room:
                    self._keep(tuple(texts[place]), states)
        return [states.to(policy.device) for states in kept if states is not None]

    def _keep(self, ids: tuple[int, ...], states: Tensor) -> None:
        if ids not in self._states:  # a text may be given twice
            self._states[ids] = states.to("cpu", copy=True)  # a view would keep the states of all texts
            self._bytes += states.nbytes


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
