"""Outputs of the base model on fixed texts, computed once for many adapters."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from semalign_pl.functional.logprobs import selected_logprobs
from semalign_pl.policy.policy import Policy

MAX_BYTES = 256 * 2**20
"""Memory for states of the base, 256 MiB: 100,000 tokens of a base with 1,280 dimensions in bfloat16."""


class BaseOutputs:
    """Logits and NLL of the base, without any adapter, on texts that are measured again and again.

    The last hidden states and the NLL of each text are kept on the CPU; logits are the head's product with the states,
    the same whether the states are new or not. Texts beyond the budget are computed each time.

    Args:
        max_bytes: Maximum size of what is kept, in bytes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._outputs: dict[tuple[int, ...], tuple[Tensor, Tensor]] = {}
        self._model: weakref.ref[torch.nn.Module] | None = None
        self._weights: tuple[object, ...] = ()

    def check_base(self, policy: Policy) -> None:
        """Forget everything if the policy's base is not the one of the last call, or its weights have changed.

        Args:
            policy: Policy to measure next.
        """
        model, weights = policy.causal_lm, _base_weights(policy)
        if self._model is None or self._model() is not model or self._weights != weights:
            self._outputs.clear()
            self._bytes = 0
            self._model, self._weights = weakref.ref(model), weights

    def __call__(
        self, policy: Policy, ids: Sequence[int]
    ) -> tuple[Float[Tensor, "tokens vocabulary"], Float[Tensor, " tokens"]]:
        """Logits and NLL of all tokens of a text but the first.

        Args:
            policy: Policy with the base of the last ``check_base``, in inference mode and acting as the base.
            ids: Token ids of the text, at least two.

        Returns:
            Logits on the policy's device; NLL, float32 in nats on the CPU.
        """
        text = torch.tensor([ids], device=policy.device)
        states, nll = self._outputs.get(tuple(ids), (None, None))
        if states is None:
            states = policy.decoder(input_ids=text, use_cache=False).last_hidden_state
        logits = policy.head(states.to(policy.device))[0, :-1]
        if nll is None:
            nll = -selected_logprobs(logits, text[0, 1:]).cpu()
            self._keep(tuple(ids), states, nll)
        return logits, nll

    def _keep(self, ids: tuple[int, ...], states: Tensor, nll: Tensor) -> None:
        size = states.nbytes + nll.nbytes
        if self._bytes + size <= self.max_bytes:
            self._outputs[ids] = states.cpu(), nll
            self._bytes += size


def _base_weights(policy: Policy) -> tuple[object, ...]:
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
