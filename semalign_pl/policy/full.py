"""Full fine-tuning: an adapter that holds a trained float32 copy of every module of the base, and no LoRA factors.

PEFT calls such copies ``modules_to_save``. So the frozen base remains as base and reference, and the adapter's folder
is read by PEFT, continued, and scaled on the line between the base's weights and the trained ones, like any other.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from semalign_pl.policy.vocabulary import embedding_and_head

if TYPE_CHECKING:
    from peft import LoraConfig, PeftModel
    from transformers import PreTrainedModel

log = logging.getLogger(__name__)
LARGE = 10**9
"""Number of weights above which full fine-tuning is warned of."""
BYTES_PER_WEIGHT = 16
"""Float32 copy, gradient and Adam's two moments, beside the base."""


def full_config(model: PreTrainedModel) -> LoraConfig:
    """``LoraConfig`` of full fine-tuning: all modules with weights, and no layer with LoRA factors.

    Args:
        model: Base model.

    Raises:
        ValueError: If the base is quantised.
    """
    from peft import LoraConfig
    from peft.utils.constants import DUMMY_TARGET_MODULES

    if any(not weight.is_floating_point() for weight in model.parameters()):
        raise ValueError(
            "model.init_args.lora.variant: full trains the base's own weights, which are quantised; use weights: bf16"
        )
    embedding, head = embedding_and_head(model)
    tied = head.weight is embedding.weight
    names = {
        path.rpartition(".")[2]
        for path, module in model.named_modules()
        if [*module.parameters(recurse=False)] and not (tied and module is head)
    }
    return LoraConfig(
        task_type="CAUSAL_LM",
        target_modules=DUMMY_TARGET_MODULES,
        modules_to_save=sorted(names),
        ensure_weight_tying=tied,
    )


def is_full(config: LoraConfig) -> bool:
    """Return true if a config is that of full fine-tuning.

    Args:
        config: Config of an adapter.
    """
    from peft.utils.constants import DUMMY_TARGET_MODULES

    return config.target_modules == DUMMY_TARGET_MODULES


def check_full(made: PeftModel, weights: int, ties: bool) -> None:
    """Check that a new adapter trains every weight, and warn of the memory that a large base takes.

    Args:
        made: PEFT model.
        weights: Number of weights of the base.
        ties: True if head and embedding share one weight.

    Raises:
        ValueError: If PEFT copied some weights twice, or not at all, or untied the head from the embedding.
    """
    from transformers import PreTrainedModel

    lm = made.get_base_model()
    assert isinstance(lm, PreTrainedModel)
    one, other = embedding_and_head(lm)
    if ties and one.weight is not other.weight:
        raise ValueError(
            "model.init_args.lora.variant: full: PEFT cannot train the head of this base, which is tied to its "
            "embedding; take another variant"
        )
    trained = sum(p.numel() for p in made.parameters() if p.requires_grad)
    if trained != weights:
        raise ValueError(
            f"model.init_args.lora.variant: full would train {trained:,} of the {weights:,} weights of this base; take "
            "another variant"
        )
    if weights > LARGE:
        log.warning(
            "lora.variant: full: %.1f billion weights take %.0f GiB beside the base; LoRA takes a hundredth of it",
            weights / 1e9,
            BYTES_PER_WEIGHT * weights / 2**30,
        )
