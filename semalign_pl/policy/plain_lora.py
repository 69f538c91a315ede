"""Convert adapters whose initialisation changed the base (PiSSA, OLoRA, ...) to plain LoRA on the unchanged base.

Such an adapter is trained on a residual: the base minus the adapter's own first update, ``W - s B0 A0``. PEFT repeats
this subtraction whenever it loads the folder. Here, policy, reference and base share one set of weights, so the
subtraction becomes part of the adapter instead: ``(W - s B0 A0) + s B A = W + s [B, -B0] [A; A0]``. This is plain LoRA
of twice the rank, as PEFT itself writes it with ``path_initial_model_for_weight_conversion``.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from semalign_pl.messages.error_text import first_line
from semalign_pl.policy.adapter_folder import AdapterFolder
from semalign_pl.policy.adapter_update import PREFIX, multiply_ranks

if TYPE_CHECKING:
    from peft import LoraConfig
    from peft.tuners.lora.layer import Linear

log = logging.getLogger(__name__)
_HARMLESS = (True, False, "gaussian", "eva", "orthogonal", "mica", "lora_ga")
"""Values of ``init_lora_weights`` for which PEFT leaves the base unchanged when it loads a folder."""
REPRODUCIBLE = 1e-4
"""Maximum relative difference between two runs of a randomised decomposition (``pissa_niter_N``)."""


def plain_lora(saved: AdapterFolder, model: nn.Module) -> AdapterFolder:
    """Convert an adapter to plain LoRA if its initialisation changed the base.

    Args:
        saved: Adapter to convert.
        model: Base model, or the PEFT model around it; not changed.

    Returns:
        Converted adapter, or ``saved`` itself.

    Raises:
        ValueError: If PEFT cannot repeat the initialisation on this base.
    """
    config = saved.config
    if config.init_lora_weights == "lora_ga":
        log.warning(
            "%s: %s was trained on a base that its initialisation (lora_ga) had changed, and the folder does not say "
            "how; it is read as PEFT reads it, on the unchanged base",
            saved.option,
            saved.path,
        )
    if not changes_base(saved):
        return saved
    try:
        plain = _widen(config, saved.weights, model)
    except (ValueError, TypeError, RuntimeError, AttributeError, KeyError, AssertionError, ImportError) as error:
        raise ValueError(
            f"{saved.option}: {saved.path} was initialised by {config.init_lora_weights}, which changes the base, and "
            f"this cannot be repeated here ({first_line(error)}); save it by PEFT's save_pretrained with "
            "path_initial_model_for_weight_conversion, which makes plain LoRA of it"
        ) from error
    log.warning(
        "%s: %s was initialised by %s, which changes the base; it is read as plain LoRA of twice the rank (%d) on the "
        "unchanged base, and is exported so",
        saved.option,
        saved.path,
        config.init_lora_weights,
        2 * config.r,
    )
    return replace(saved, config=multiply_ranks(config, 2), weights=plain)


def changes_base(saved: AdapterFolder) -> bool:
    """Return true if an adapter's initialisation changed its base.

    Args:
        saved: Adapter as read from its folder.
    """
    kind = saved.config.init_lora_weights
    return (kind.lower() if isinstance(kind, str) else kind) not in _HARMLESS


def widen(saved: AdapterFolder) -> AdapterFolder:
    """Adapter of the config and shapes that ``plain_lora`` returns, without reading the base; its values are others.

    Args:
        saved: Adapter whose initialisation changed its base.
    """
    return replace(saved, config=multiply_ranks(saved.config, 2), weights=_widen(saved.config, saved.weights, None))


def _widen(config: LoraConfig, state: Mapping[str, Tensor], model: nn.Module | None) -> dict[str, Tensor]:
    """Append the negative first update to each LoRA factor, ``[A; A0]`` and ``[B, -B0]``; zeros without a model."""
    wide = dict(state)
    for name in state:
        if name.endswith(".lora_A.weight"):
            layer = name.removesuffix(".lora_A.weight")
            down, up = torch.zeros_like(state[name]), torch.zeros_like(state[f"{layer}.lora_B.weight"])
            if model is not None:
                linear = _frozen_layer(model, layer.removeprefix(PREFIX))
                down, up = first_update(linear, layer.removeprefix(PREFIX), len(state[name]), config)
            wide[name] = torch.cat([state[name].float(), down])
            wide[f"{layer}.lora_B.weight"] = torch.cat([state[f"{layer}.lora_B.weight"].float(), -up], 1)
        elif name.endswith("lora_embedding_A"):  # PEFT changes no embedding, so the new half is zero
            wide[name] = torch.cat([state[name], torch.zeros_like(state[name])])
        elif name.endswith("lora_embedding_B"):
            wide[name] = torch.cat([state[name], torch.zeros_like(state[name])], 1)
    return wide


def _frozen_layer(model: nn.Module, name: str) -> nn.Module:
    """Layer of a base by its name, without an adapter that PEFT may have put around it."""
    from peft import PeftModel
    from peft.tuners.tuners_utils import BaseTunerLayer

    layer = (model.get_base_model() if isinstance(model, PeftModel) else model).get_submodule(name)
    return layer.get_base_layer() if isinstance(layer, BaseTunerLayer) else layer


def first_update(linear: nn.Module, name: str, rank: int, config: LoraConfig) -> tuple[Tensor, Tensor]:
    """Return ``A0 (rank, in)`` and ``B0 (out, rank)`` as PEFT initialises them on a copy of a layer, on the CPU.

    Args:
        linear: Linear layer of the base; not changed.
        name: Name of the layer in the base.
        rank: Rank of the update.
        config: Config of the adapter, with its initialisation and its alpha.

    Raises:
        ValueError: If the base changes by more than their scaled product, or if a randomised decomposition differs
            between two runs.
    """
    from peft.utils.other import get_pattern_key

    pattern = config.alpha_pattern or {}
    alpha = pattern.get(get_pattern_key(list(pattern), name), config.lora_alpha)
    trial = _initialise(linear, rank, alpha, config)
    down, up, update = _factors(trial)
    weight, residual = (
        linear.get_parameter("weight").data.cpu(),
        trial.get_base_layer().get_parameter("weight").data.cpu(),
    )
    change = (weight.float() - residual.float()).t() if trial.fan_in_fan_out else weight.float() - residual.float()
    # The tolerance covers the rounding of the residual to the precision of the weights.
    if (change - update).norm() > 8 * torch.finfo(weight.dtype).eps * weight.float().norm():
        raise ValueError(f"it changes {name} by more than its own first update")
    if "niter" in str(config.init_lora_weights):
        *_, again = _factors(_initialise(linear, rank, alpha, config))
        difference = ((again - update).norm() / update.norm()).item()
        if difference > REPRODUCIBLE:
            raise ValueError(f"its random decomposition of {name} differs by {difference:.1%} from reading to reading")
    return down, up


def _initialise(linear: nn.Module, rank: int, alpha: Any, config: LoraConfig) -> Linear:
    """Wrap a copy of a linear layer in PEFT's LoRA layer, initialised as when a folder is loaded."""
    from peft.tuners.lora.layer import Linear
    from transformers.pytorch_utils import Conv1D

    if not linear.get_parameter("weight").is_floating_point():
        raise TypeError("the base is quantised")
    own = copy.deepcopy(config)
    own.fan_in_fan_out, own.use_dora = isinstance(linear, Conv1D), False
    return Linear(copy.deepcopy(linear), "default", config=own, r=rank, lora_alpha=alpha)


def _factors(trial: Linear) -> tuple[Tensor, Tensor, Tensor]:
    """Return A, B and their scaled product ``s B A``, in float32 on the CPU."""
    down, up = (factor["default"].get_parameter("weight").data.float().cpu() for factor in (trial.lora_A, trial.lora_B))
    return down, up, trial.scaling["default"] * up @ down
