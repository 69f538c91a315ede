"""OSF, orthogonal subspace fine-tuning (arXiv 2504.07097): train the directions that the base's weights use least.

With ``W = U S V'``, the part of the ``r`` smallest singular values is trained, and gradients are projected to be
orthogonal to the singular vectors of the others, in which the base has its knowledge. PEFT's ``OSFModel`` trains U, S
and V of that part as a layer of its own kind. It has no reference, no scale, no blend and no base without adapter, and
each reading decomposes the base again. Here the part is a LoRA of twice the rank (see ``residual_start``) with
``s B0 A0 = U_r S_r V_r'``, the singular values in both factors alike, so that all of these work and PEFT reads it as
LoRA. The subspace is PEFT's with ``effective_rank = min(W.shape) - r``, and so is the projection: of gradients, as in
the paper, and not of the optimiser's steps. With AdamW, a factor therefore leaves the subspace a little; the update
between kept directions on both sides is of second order in the learning rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.policy.residual_start import OPTION, Start, linear_layers, residual_adapter, start_config
from semalign_pl.policy.settings import LoraSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel


def osf_adapter(model: PreTrainedModel, lora: LoraSettings, ids: list[int]) -> PeftModel:
    """Add a new adapter to a base, whose first half is the part of the smallest singular values.

    Args:
        model: Base model; becomes part of the PEFT model.
        lora: Settings of the adapter; ``r`` is the number of singular values that are trained.
        ids: Token ids of new tokens, whose rows are trained.

    Returns:
        PEFT model.

    Raises:
        ValueError: If the base is quantised, or ``r`` leaves a layer without a direction that is kept.
    """
    layers = linear_layers(model, lora, start_config(model, lora))
    scale = lora.alpha / lora.r
    return residual_adapter(model, lora, ids, {name: _start(name, one, lora.r, scale) for name, one in layers.items()})


def _start(name: str, layer: nn.Module, rank: int, scale: float) -> Start:
    from transformers.pytorch_utils import Conv1D

    weight = layer.get_parameter("weight").detach().float()
    weight = weight.t() if isinstance(layer, Conv1D) else weight
    if rank >= min(weight.shape):
        raise ValueError(
            f"{OPTION}.r: {rank} are all {min(weight.shape)} singular values of {name}, and osf keeps the others; "
            "lower `r`"
        )
    left, values, right = torch.linalg.svd(weight, full_matrices=False)
    kept = len(values) - rank
    root = (values[kept:] / scale).sqrt()
    # The orthogonal complement of the kept vectors of a square factor is spanned by the trained ones, which are fewer.
    low_left, low_right = left[:, kept:].clone(), right[kept:].clone()
    high_left = None if left.shape[0] == left.shape[1] else left[:, :kept].clone()
    high_right = None if right.shape[0] == right.shape[1] else right[:kept].clone()

    def project_up(gradient: Tensor) -> Tensor:
        if high_left is None:
            return low_left @ (low_left.t() @ gradient)
        return gradient - high_left @ (high_left.t() @ gradient)

    def project_down(gradient: Tensor) -> Tensor:
        if high_right is None:
            return (gradient @ low_right.t()) @ low_right
        return gradient - (gradient @ high_right.t()) @ high_right

    return Start(root.unsqueeze(1) * low_right, low_left * root, project_down, project_up)
