"""The base with a policy's adapter merged into its weights, as a plain model folder."""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.engine.self_check import TOLERANCE
from semalign_pl.files.atomic import replace_folder
from semalign_pl.policy.policy import Policy

if TYPE_CHECKING:
    from transformers import PreTrainedModel


log = logging.getLogger(__name__)
LEAST_KEPT = 0.9
"""Share of an adapter's update that the weights of a merged model hold; below it, a warning says so."""


def export_model(policy: Policy, folder: Path, dtype: torch.dtype | None = None) -> None:
    """Write base and trained adapter as one model, with the tokenizer, its chat template and the stop tokens.

    Each layer is merged in float32 and rounded once, with no more memory than one layer of it.

    ``AutoModelForCausalLM.from_pretrained(folder)`` loads it without PEFT, and ``model.init_args.base`` names it for
    another run, whose base it then is. Its default decoding is greedy, as in a test. The folder is loaded again, and
    its logits compared with the policy's.

    Args:
        policy: Policy to write. Its adapter is merged in place, so that it must not be used any more.
        folder: Folder to write; created if absent, replaced if present.
        dtype: Precision of the written weights; ``None`` for that of the base.

    Raises:
        ValueError: If the base is quantised, or PEFT cannot merge this adapter exactly.
        WriteError: If the folder cannot be written; the old one is unchanged.
    """
    from transformers import AutoModelForCausalLM, GenerationConfig

    lm = policy.causal_lm
    dtype = dtype or lm.dtype
    if not all(weight.is_floating_point() for weight in lm.parameters()):
        raise ValueError(
            "model.init_args.base: the base's weights are quantised, and a merged model would have to be quantised "
            "again; give the base that is not quantised, with model.init_args.weights: bf16"
        )
    with policy.inference():
        expected = _probe_logits(lm)
    if (kept := _merge_layers(policy, dtype)) < LEAST_KEPT:
        log.warning(
            "the merged model: its weights in %s hold %.0f %% of the adapter's update, as the rest is smaller than "
            "their precision; give --dtype fp32, or use base and adapter side by side",
            str(dtype).removeprefix("torch."), 100 * kept,
        )  # fmt: skip
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="All adapters are already merged")
        merged = policy.model.merge_and_unload(adapter_names=["default"])
    # Servers stop where this package does, and decode without the base's sampling and penalties.
    own = merged.generation_config
    ends = list(policy.encoder.eos_ids)
    merged.generation_config = GenerationConfig(
        eos_token_id=ends, pad_token_id=own.pad_token_id, bos_token_id=own.bos_token_id
    )
    with replace_folder(folder) as made:
        merged.to(dtype=dtype).save_pretrained(str(made))
        policy.encoder.tokenizer.save_pretrained(str(made))
        again = AutoModelForCausalLM.from_pretrained(made, dtype=dtype, trust_remote_code=False).eval()
        nn.Module.to(again, policy.device)
        with torch.no_grad():
            found = _probe_logits(again)
        difference = ((found - expected).norm() / expected.norm()).item()
        if not difference <= TOLERANCE.get(dtype, 1e-4):
            raise ValueError(
                f"the merged model: PEFT merges this adapter so that its logits differ by {difference:.1%}; nothing is "
                "written; use base and adapter side by side"
            )


def _merge_layers(policy: Policy, dtype: torch.dtype) -> float:
    """Merge the trained adapter into the weights of each layer: in float32, then rounded once to ``dtype``.

    Returns:
        Share of LoRA's updates that the rounded weights hold: the projection of their change on the update.
    """
    from peft.tuners.lora import LoraLayer
    from peft.tuners.tuners_utils import BaseTunerLayer

    held = size = 0.0
    for layer in policy.model.modules():
        if isinstance(layer, BaseTunerLayer):
            own = layer.get_base_layer()
            own.float()
            is_lora = isinstance(layer, LoraLayer) and isinstance(getattr(own, "weight", None), Tensor)
            before = own.get_parameter("weight").detach().clone() if is_lora else None
            layer.merge(adapter_names=["default"])
            if before is not None:
                after = own.get_parameter("weight").detach()
                held += float(((after.to(dtype).float() - before) * (after - before)).sum())
                size += float((after - before).square().sum())
            own.to(dtype)
    return held / size if size else 1.0


def _probe_logits(lm: PreTrainedModel) -> Tensor:
    """Logits of a few tokens of the whole vocabulary, new ones included, float32."""
    vocabulary = lm.config.get_text_config().vocab_size
    ids = [(7 * index + 3) % vocabulary for index in range(16)] + [vocabulary - 1 - index for index in range(8)]
    ids = torch.tensor([ids], device=lm.device)
    return lm(input_ids=ids, use_cache=False).logits.float()
