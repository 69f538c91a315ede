"""CorDA, knowledge-preserving (arXiv 2406.05223, section 3.3): adapt the directions that general text uses least.

With the covariance C of a layer's inputs on text that is to be preserved, ``W C = U S V'``. The adapter starts as the
part of the smallest singular values, ``s B0 A0 = U_r S_r V_r' C^-1``, and the rest of ``W`` is frozen; see
``residual_start``.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import torch

from semalign_pl.files.text_lines import read_text_lines
from semalign_pl.messages.error_text import first_line
from semalign_pl.policy.plain_lora import first_update
from semalign_pl.policy.residual_start import OPTION, Start, linear_layers, residual_adapter, start_config
from semalign_pl.policy.settings import LoraSettings

if TYPE_CHECKING:
    from peft import PeftModel
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

log = logging.getLogger(__name__)
MAX_TEXTS, MAX_TOKENS = 256, 2048
"""Number of texts, and of tokens per text, for the covariances, as in PEFT's advice (``preprocess_corda``)."""


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
    return residual_adapter(model, lora, ids, _starts(model, lora, _read_texts(lora, tokenizer)))


def _starts(model: PreTrainedModel, lora: LoraSettings, texts: list[list[int]]) -> dict[str, Start]:
    """Start of each adapted linear layer, by PEFT's own decomposition."""
    from peft.tuners.lora.config import CordaConfig
    from peft.tuners.lora.corda import preprocess_corda

    config = start_config(model, lora)
    config.init_lora_weights = "corda"
    config.corda_config = CordaConfig(corda_method="kpm")
    layers = linear_layers(model, lora, config)

    def run_model() -> None:
        for text in texts:
            model(input_ids=torch.tensor([text], device=model.device), use_cache=False)

    try:
        preprocess_corda(model, config, run_model)
        return {name: Start(*first_update(layer, name, lora.r, config)) for name, layer in layers.items()}
    except (ValueError, RuntimeError) as error:
        raise ValueError(
            f"{OPTION}.variant: corda cannot decompose this base ({first_line(error)}); lower `r`, give a `file` with "
            "more text, or take another variant"
        ) from error
    finally:
        for layer in layers.values():
            vars(layer).pop("eigens", None)


def _read_texts(lora: LoraSettings, tokenizer: PreTrainedTokenizerBase) -> list[list[int]]:
    """Token ids of the first texts of the file."""
    given = list(read_text_lines(f"{OPTION}.file", str(lora.file)).values())
    texts = [tokenizer(line)["input_ids"][:MAX_TOKENS] for line in given[:MAX_TEXTS]]
    log.info("%s: corda preserves %d of %d texts, %d tokens", lora.file, len(texts), len(given), sum(map(len, texts)))
    return texts
