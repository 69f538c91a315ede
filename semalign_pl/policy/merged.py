"""The base with a policy's adapter merged into its weights, as a plain model folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from semalign_pl.engine.self_check import TOLERANCE
from semalign_pl.files.atomic import replace_folder
from semalign_pl.policy.policy import Policy

if TYPE_CHECKING:
    from transformers import PreTrainedModel


def export_model(policy: Policy, folder: Path) -> None:
    """Write base and trained adapter as one model, in the precision of the base, with the tokenizer.

    ``AutoModelForCausalLM.from_pretrained(folder)`` loads it without PEFT, and ``model.init_args.base`` names it for
    another run, whose base it then is. The folder is loaded again, and its logits compared with the policy's.

    Args:
        policy: Policy to write. Its adapter is merged in place, so that it must not be used any more.
        folder: Folder to write; created if absent, replaced if present.

    Raises:
        ValueError: If the base is quantised, or PEFT cannot merge this adapter exactly.
        WriteError: If the folder cannot be written; the old one is unchanged.
    """
    from transformers import AutoModelForCausalLM

    lm = policy.causal_lm
    dtype = lm.dtype
    if not all(weight.is_floating_point() for weight in lm.parameters()):
        raise ValueError(
            "--whole: the base's weights are quantised, and a merged model would have to be quantised again; use "
            "--model.init_args.weights bf16"
        )
    with policy.inference():
        expected = _probe_logits(lm)
    merged = policy.model.merge_and_unload(adapter_names=["default"])
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
                f"--whole: PEFT merges this adapter so that the logits of the whole model differ by {difference:.1%}; "
                "use base and adapter side by side"
            )


def _probe_logits(lm: PreTrainedModel) -> Tensor:
    """Logits of a few tokens, float32."""
    vocabulary = lm.config.get_text_config().vocab_size
    ids = torch.tensor([[(7 * index + 3) % vocabulary for index in range(16)]], device=lm.device)
    return lm(input_ids=ids, use_cache=False).logits.float()
