"""Last hidden states of the base on fixed texts, computed once."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.completion_states import states_of_role
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.engine.model import CausalPolicy

MAX_BYTES = 2**30
"""Memory for states of the base, 1 GiB: 600,000 tokens of a base with 896 dimensions in bfloat16."""


class BaseStates:
    """States of the base, without any adapter, on groups of texts that are used again and again.

    A group is always forwarded whole, so that its states are the same to the last digit, kept or computed again: a
    resumed run equals an uninterrupted one. Groups beyond the memory limit are computed each time.

    Args:
        max_bytes: Maximum size of the kept states, in bytes.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.max_bytes = max_bytes
        self._bytes = 0
        self._groups: dict[object, list[Tensor]] = {}

    def __call__(
        self, policy: CausalPolicy, completions: Completions, budget: int
    ) -> list[Float[Tensor, "tokens hidden"]]:
        """States that predict each token of a group.

        Args:
            policy: Policy with always the same base.
            completions: Group of texts as prompts and completions, none empty.
            budget: Maximum number of tokens per forward.

        Returns:
            States per completion, on the CPU if they were kept.
        """
        key = tuple(map(tuple, completions.prompts)), tuple(map(tuple, completions.completions))
        if key in self._groups:
            return self._groups[key]
        states = states_of_role(policy, "base", completions, budget)
        size = sum(of_one.nbytes for of_one in states)
        if self._bytes + size <= self.max_bytes:
            self._groups[key] = [of_one.cpu() for of_one in states]
            self._bytes += size
        return states
