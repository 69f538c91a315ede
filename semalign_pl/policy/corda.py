"""CorDA, knowledge-preserving (arXiv 2406.05223, section 3.3): adapt the directions that general text uses least.

With the covariance C of a layer's inputs on text that is to be preserved, ``W C = U S V'``. The adapter starts as the
part of the smallest singular values, ``s B0 A0 = U_r S_r V_r' C^-1``, and the rest of ``W`` is frozen. PEFT subtracts
``s B0 A0`` from the weight. Here policy, reference and base share one weight, so the subtraction is the second half of
the adapter: ``(W - s B0 A0) + s B A = W + s [B, -B0] [A; A0]``, plain LoRA of twice the rank whose second half is
frozen. Dropout acts on the difference from the base, and so never on what the base knows.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.files.text_lines import read_text_lines
from semalign_pl.messages.error_text import first_line
from semalign_pl.policy.new_adapter import fresh_adapter, lora_config
from semalign_pl.policy.plain_lora import first_update
from semalign_pl.policy.settings import LoraSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
MAX_TEXTS, MAX_TOKENS = 256, 2048
"""Number of texts, and of tokens per text, for the covariances, as in PEFT's advice (``preprocess_corda``)."""
_OPTION = "model.init_args.lora"


def corda_adapter(
    model: PreTrainedModel, lora: LoraSettings, ids: list[int], tokenizer: PreTrainedTokenizerBase
) -> PeftModel:
    """Add a new adapter of twice the rank to a base; its update is zero, and its second half is frozen.

    Args:
        model: Base model in eval mode; becomes part of the PEFT model.
        lora: Settings of the adapter, with the file of the texts that are to be preserved.
        ids: Token ids of new tokens, whose rows are trained.
        tokenizer: Tokenizer of the policy.

    Returns:
        PEFT model.

    Raises:
        ValueError: If the file holds no text, the base is quantised, or a layer cannot be decomposed.
    """
    from peft.tuners.lora.layer import LoraLayer

    first = _first_updates(model, lora, _read_texts(lora, tokenizer))
    made = fresh_adapter(model, lora, ids)
    for path, layer in made.get_base_model().named_modules():
        if not isinstance(layer, LoraLayer):
            continue
        if path not in first:
            raise ValueError(f"{_OPTION}.variant: corda adapts linear layers only; leave {path} out of target_modules")
        down, up = first[path]
        _fill(layer.lora_A["default"], [down, down], 0)
        _fill(layer.lora_B["default"], [up, -up], 1)
    return made


def _first_updates(
    model: PreTrainedModel, lora: LoraSettings, texts: list[list[int]]
) -> dict[str, tuple[Tensor, Tensor]]:
    """``A0 (rank, in)`` and ``B0 (out, rank)`` of each adapted linear layer, by PEFT's own decomposition."""
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda
    from peft.tuners.tuners_utils import _maybe_include_all_linear_layers, check_target_module_exists
    from transformers.pytorch_utils import Conv1D

    config = lora_config(lora, model)
    config.r, config.lora_alpha, config.init_lora_weights = lora.r, lora.alpha, "corda"
    config.corda_config = CordaConfig(corda_method="kpm")
    _maybe_include_all_linear_layers(config, model)  # changes it in place
    layers = {
        name: layer
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | Conv1D) and check_target_module_exists(config, name)
    }
    if any(not layer.get_parameter("weight").is_floating_point() for layer in layers.values()):
        raise ValueError(
            f"{_OPTION}.variant: corda decomposes the base's weights, which are quantised; use weights: bf16"
        )

    def run_model() -> None:
        for text in texts:
            model(input_ids=torch.tensor([text], device=model.device), use_cache=False)

    try:
        preprocess_corda(model, config, run_model)
        return {name: first_update(layer, name, lora.r, config) for name, layer in layers.items()}
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{_OPTION}.variant: corda cannot decompose this base ({first_line(error)}); lower `r`, give a `file` with "
            "more text, or take another variant"
        ) from error
    finally:
        for layer in layers.values():
            vars(layer).pop("eigens", None)


def _read_texts(lora: LoraSettings, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of the first texts of the file."""
    given = list(read_text_lines(f"{_OPTION}.file", str(lora.file)).values())
    texts = [tokenizer(line)["input_ids"][:MAX_TOKENS] for line in given[:MAX_TEXTS]]
    log.info("%s: corda preserves %d of %d texts, %d tokens", lora.file, len(texts), len(given), sum(map(len, texts)))
    return texts


def _fill(factor: nn.Module, halves: list[Tensor], dim: int) -> None:
    """Set a factor to two halves along the rank, of which the second gets no gradient."""
    weight = factor.get_parameter("weight")
    with torch.no_grad():
        weight.copy_(torch.cat(halves, dim))
    rank = halves[0].shape[dim]
    mask = (torch.arange(2 * rank, device=weight.device) < rank).to(weight.dtype)
    mask = mask.unsqueeze(1 - dim)
    weight.register_hook(lambda gradient: gradient * mask)
