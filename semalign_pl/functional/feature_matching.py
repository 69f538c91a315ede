"""Rewards that match the features of samples with those of the reference (EBFT, arXiv 2603.12248)."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

TOLERANCE = 1e-5
"""Singular values below this share of the largest one count as 0 in the pseudoinverse."""


def whiten(
    features: Float[Tensor, "samples dims"], reference: Float[Tensor, " dims"]
) -> tuple[Float[Tensor, "samples dims"], Float[Tensor, " dims"]]:
    """``(S^+)^(1/2) x`` with ``S`` the second moment of the samples' features (EBFT, section 2.3 and equation 8).

    Directions that no sample has become 0, also in the reference.

    Args:
        features: Features of the samples of one prompt.
        reference: Features of the reference.

    >>> whiten(torch.tensor([[2.0, 0.0], [0.0, 1.0]]), torch.tensor([2.0, 1.0]))[1]
    tensor([1.4142, 1.4142])
    """
    _, values, directions = torch.linalg.svd(features, full_matrices=False)
    kept = values > TOLERANCE * values.max()
    inverse = torch.where(kept, len(features) ** 0.5 / values.clamp(min=1e-30), 0.0)
    transform = directions.T * inverse
    return features @ transform @ directions, reference @ transform @ directions


def feature_matching_rewards(
    features: Float[Tensor, "samples dims"],
    reference: Float[Tensor, " dims"],
    diversity: float = 1.0,
    whitened: bool = True,
) -> Float[Tensor, " samples"]:
    """``2 f_j.f - 2/(n-1) sum_(k != j) f_j.f_k``: alignment with the reference, and diversity (EBFT, equation 7).

    With a diversity of 1 and without whitening, REINFORCE on these rewards has the gradient of
    ``-|E f(sample) - f(reference)|^2`` as its expectation. With whitening, alignment is the cosine of whitened
    features, and diversity their product (equation 9).

    Args:
        features: Features of the samples of one prompt, rows of length 1.
        reference: Features of the reference, of length 1.
        diversity: Weight of the second term; 0 compares with the reference alone.
        whitened: True to whiten the features by the samples' second moment.

    Returns:
        Rewards, float32. A single sample has no diversity term.

    >>> feature_matching_rewards(torch.eye(2), torch.tensor([0.6, 0.8]), whitened=False)
    tensor([1.2000, 1.6000])
    """
    features, reference = features.float(), reference.float()
    if whitened:
        features, reference = whiten(features, reference)
        alignment = torch.nn.functional.cosine_similarity(features, reference.unsqueeze(0), dim=-1)
    else:
        alignment = features @ reference
    products = (features @ features.T).fill_diagonal_(0.0)
    return 2 * alignment - diversity * 2 * products.sum(1) / max(1, len(features) - 1)
