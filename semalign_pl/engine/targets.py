"""Target distributions that a loss compares the policy with."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from semalign_pl.engine.model import Role
from semalign_pl.functional.divergence import Divergence


@dataclass(frozen=True)
class Target:
    """Distribution that a term compares the policy with, at each token of one completion.

    The target is computed without gradient and without dropout. Its logits and the policy's are divided by the
    completion's temperature.

    Attributes:
        role: Weights that give the target.
        kind: Divergence from the target.
        prompt: Token ids of the target's prompt, if it is another than the policy's: a teacher may be shown more.
        states: Last hidden states that predict the completion's tokens, if they are computed before; on any device.
        logprobs: Flag to compute the log-probs of the completion too. Without it they and the entropy are zeros, which
            saves a product with the head; ``k3`` needs them.
    """

    role: Role
    kind: Divergence = "forward_kl"
    prompt: list[int] | None = None
    states: Float[Tensor, "tokens hidden"] | None = None
    logprobs: bool = True

    def __post_init__(self) -> None:
        """Refuse k3 without log-probs."""
        assert self.logprobs or self.kind != "k3", "k3 is computed from the log-probs of the completion's tokens"
