"""Reward from the similarity of two texts."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor


def rescale(similarity: Float[Tensor, " *dims"], tau: float) -> Float[Tensor, " *dims"]:
    """Semantic reward ``R_sim``: 0 up to the threshold, then linear to 1 (arXiv 2605.14366, "Reward").

    Args:
        similarity: Cosines in [-1, 1]. NaN (not scored) stays NaN.
        tau: Threshold, the minimal semantic adequacy, in [-1, 1).

    Returns:
        Rewards in [0, 1], in the dtype of the cosines.

    Raises:
        ValueError: If ``tau`` is outside [-1, 1).

    >>> import torch
    >>> rescale(torch.tensor([0.2, 0.5, 0.75, 1.0]), tau=0.5)
    tensor([0.0000, 0.0000, 0.5000, 1.0000])
    """
    if not -1.0 <= tau < 1.0:
        raise ValueError(f"tau: {tau} is not a usable threshold for a cosine; give a number in [-1, 1)")
    return ((similarity - tau) / (1.0 - tau)).clamp(min=0.0)
