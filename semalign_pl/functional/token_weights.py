"""Weights of tokens in SFT's loss: a token's loss is ``-weight * log p``, and no gradient flows through the weight."""

from __future__ import annotations

import math
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

TokenWeight = Literal["none", "dft", "asft", "eaft", "talr", "chord"]
"""Name of a weight; ``asft`` has the weights of ``dft``, and its loss has a KL to the base beside them."""
EAFT_TOKENS = 20
"""Number of outcomes, K, whose largest entropy is EAFT's unit (arXiv 2601.02151, equation 3)."""
TALR_FLOOR = 0.01
"""Smallest weight of TALR, so that hard tokens are still learned."""


def token_weights(
    kind: TokenWeight,
    logps: Float[Tensor, "completions tokens"],
    entropy: Float[Tensor, "completions tokens"],
    temperature: float = 1.0,
) -> Float[Tensor, "completions tokens"]:
    """Weight of each token in the loss, without gradient, in [0, 1].

    - ``none``: 1.
    - ``dft``: ``p``, the token's probability (DFT, arXiv 2508.05629, equation 9). ``asft`` has the same weights; its
      second term is ``KL(base || policy)`` (ASFT, arXiv 2509.23753; the direction is that of the authors' code).
    - ``eaft``: entropy divided by ``ln 20``, at most 1 (EAFT, arXiv 2601.02151, equations 2 and 3). The paper takes the
      entropy of the 20 likeliest tokens as an approximation of the entropy of the vocabulary, which is used here.
    - ``talr``: ``p^(1 / temperature)``, at least 0.01 (TALR, arXiv 2509.20758: closed form of the weights, not
      normalised). The temperature is the median over the step of the mean NLL of a completion.
    - ``chord``: ``p (1 - p)`` (CHORD's phi, arXiv 2508.11408, equation 5), at most 1/4.

    Args:
        kind: Name of the weight.
        logps: Log-probs of the tokens.
        entropy: Entropy of the policy at the tokens, in nats.
        temperature: Temperature of TALR, in nats, above 0.

    >>> logps, entropy = torch.tensor([[0.5, 0.25]]).log(), torch.tensor([[0.0, 1.4979]])
    >>> token_weights("dft", logps, entropy)
    tensor([[0.5000, 0.2500]])
    >>> token_weights("chord", logps, entropy)
    tensor([[0.2500, 0.1875]])
    >>> token_weights("eaft", logps, entropy)
    tensor([[0.0000, 0.5000]])
    >>> token_weights("talr", logps, entropy, temperature=2.0)
    tensor([[0.7071, 0.5000]])
    """
    logps = logps.detach()
    if kind in ("dft", "asft"):
        return logps.exp()
    if kind == "eaft":
        return (entropy.detach() / math.log(EAFT_TOKENS)).clamp(max=1.0)
    if kind == "talr":
        return (logps / temperature).exp().clamp(min=TALR_FLOOR)
    if kind == "chord":
        return logps.exp() * (1 - logps.exp())
    return torch.ones_like(logps)
