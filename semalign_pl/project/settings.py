"""Settings of the recipes: memory from the plan for a machine, and learning rates from the width of the base."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch

from semalign_pl.messages.memory_amount import gib
from semalign_pl.modules.anchor import AnchorSettings
from semalign_pl.plan.command import available_bytes, changes, proposal
from semalign_pl.plan.encoder import embedder_peak
from semalign_pl.plan.meta_policy import encoder_bytes, meta_policy, read_config, weight_bytes
from semalign_pl.plan.predict import predict, validation_peak
from semalign_pl.plan.settings import Settings
from semalign_pl.policy.causal_lm import Weights
from semalign_pl.policy.settings import LoraSettings
from semalign_pl.project.lengths import Lengths
from semalign_pl.start.environment import find_memory

LARGEST_BATCH = 64
"""Largest number of prompts that a validation completes at once, and of texts that are embedded at once: the defaults
of ``eval_batch_size`` and ``micro_batch``."""
LORA = LoraSettings(r=64, alpha=128, dropout=0.05)
GENERATIONS = 8
SAMPLING = {"temperature": 0.8, "top_p": 0.9, "top_k": 0, "min_p": 0.0}
"""Sampling options of GRPO, by name: temperature and top_p as in the recipe, and the module's defaults."""
ENCODER_BYTES = 16
"""Bytes per weight of an encoder in training: weight, gradient and Adam's two moments, in 32 bits each."""


@dataclass(frozen=True)
class Machine:
    """Machine that the recipes are written for.

    Attributes:
        memory: Memory of the card in bytes; without one, as much as this computer or container has.
        cuda: True for a card.
        named: True if the user named the memory.
    """

    memory: int
    cuda: bool
    named: bool

    @classmethod
    def detect(cls, named: int | None) -> Machine:
        """Machine with the memory that the user names, or else this one.

        Args:
            named: Memory of the card in bytes; ``None`` to look for a card.

        Raises:
            ValueError: If there is no card, and the memory of the computer is unknown.
        """
        if named is not None:
            return cls(named, True, True)
        if torch.cuda.is_available():
            return cls(torch.cuda.get_device_properties(0).total_memory, True, False)
        if (found := find_memory()) is None:
            raise ValueError("--memory: this system does not tell its memory; give that of your card, e.g. 12GiB")
        return cls(found[1], False, False)


def choose_weights(base: str, machine: Machine) -> Weights:
    """Precision of the frozen base: 16 bits on a card, 32 without one; 4 if those take over a quarter of the memory.

    Args:
        base: Hub id or folder of the base.
        machine: Machine that the recipes are written for.
    """
    whole: Weights = "bf16" if machine.cuda else "fp32"
    settings = Settings(base=base, stage="sft", weights=whole, lora=LORA, cuda=machine.cuda)
    taken = weight_bytes(meta_policy(settings.of_policy).causal_lm, whole)
    return whole if 4 * taken <= machine.memory else "nf4"


def plan_stages(
    base: str,
    weights: Weights,
    lengths: Lengths,
    keep_lengths: Lengths,
    machine: Machine,
    encoder: str,
    batch: int,
    prompts: int,
) -> tuple[dict[str, object], int]:
    """Settings of each stage that fit the card in training and in validation; on a CPU, settings that suit one.

    Args:
        base: Hub id or folder of the base.
        weights: Precision of the base.
        lengths: Limits of the pairs.
        keep_lengths: Limits of the pairs and of replayed rows.
        machine: Machine that the recipes are written for.
        encoder: Hub id or folder of the encoder that the trained encoder starts from.
        batch: Rows per step of SFT.
        prompts: Prompts per step of GRPO.

    Returns:
        Settings by the name of the templates' variable, and the largest predicted peak in bytes; 0 on a CPU. Of
        ``sft``, ``keep`` and ``grpo``, ``_memory`` has options under ``model.init_args`` by name, and ``_eval_batch``
        is the number of prompts that a validation completes at once. ``micro_batch`` is the encoder's.

    Raises:
        ValueError: If nothing fits, or the encoder cannot be trained on the card.
    """
    if not machine.cuda:
        tokens, longer = (max(4096, one.prompt + one.completion) for one in (lengths, keep_lengths))
        return {
            "sft_memory": {"micro_batch_tokens": tokens},
            "keep_memory": {"micro_batch_tokens": longer},
            "grpo_memory": {"micro_batch_tokens": tokens, "rollout_rows": 8 * GENERATIONS},
            **{f"{stage}_eval_batch": LARGEST_BATCH for stage in ("sft", "keep", "grpo")},
            "micro_batch": LARGEST_BATCH,
        }, 0
    room = available_bytes(machine.memory, cuda=True)
    micro_batch, of_encoder = _largest_batch(lambda texts: embedder_peak(encoder, texts, lengths.encoder), room)
    if of_encoder > room:
        raise ValueError(
            f"--encoder: to train {encoder} takes {gib(encoder_bytes(encoder, ENCODER_BYTES))} and memory for its "
            f"texts, more than a card of {gib(machine.memory)} has; name a smaller one"
        )
    sft = Settings(
        base=base,
        stage="sft",
        weights=weights,
        lora=LORA,
        prompt_tokens=lengths.prompt,
        completion_tokens=lengths.completion,
        rows=batch,
        num_generations=1,
        rollout_rows=1,
        mixed=True,
        encoders=((encoder, 4),),  # of the Evaluation, in 32 bits
        cuda=True,
    )
    keep = replace(sft, prompt_tokens=keep_lengths.prompt, completion_tokens=keep_lengths.completion)
    # The rows of the anchor fill a micro-batch, which two long pairs may not. Their first token is the prompt.
    anchor = replace(keep, prompt_tokens=1, completion_tokens=AnchorSettings.max_tokens - 1)
    grpo = replace(
        sft,
        stage="grpo",
        rows=prompts * GENERATIONS,
        num_generations=GENERATIONS,
        encoders=((encoder, 2), *sft.encoders),  # of the reward, in 16 bits
        sampling=tuple(SAMPLING.items()),
    )
    values: dict[str, object] = {"micro_batch": micro_batch}
    peaks = [of_encoder]
    for name, stages in {"sft": [sft], "keep": [keep, anchor], "grpo": [grpo]}.items():
        proposed = [proposal(stage, machine.memory)[0] for stage in stages]
        options = changes(min(proposed, key=lambda one: (not one.recompute, one.micro_batch_tokens)))
        stages = [replace(stage, **options) for stage in stages]
        eval_batch, peak = _largest_batch(partial(_validation_peak, stages[0]), room)
        values |= {f"{name}_memory": options, f"{name}_eval_batch": eval_batch}
        peaks += [peak, *(predict(stage).peak for stage in stages)]
    return values, max(peaks)


def _validation_peak(stage: Settings, rows: int) -> int:
    """Predicted peak of a validation that completes so many prompts at once; `predict` refuses what has none."""
    return validation_peak(replace(stage, validation_rows=rows)) or 0


def _largest_batch(peak: Callable[[int], int], room: int) -> tuple[int, int]:
    """Largest batch whose predicted peak fits, by halving; and this peak in bytes, of a single item if nothing fits."""
    size = LARGEST_BATCH
    while (taken := peak(size)) > room and size > 1:
        size //= 2
    return size, taken


def learning_rate(base: str, at_2560: float) -> float:
    """Learning rate for the width of a model: smaller for wider models, with the square root of the width.

    The square root joins two rates that are known to work for LoRA: 2e-4 for models of 7 billion parameters (arXiv
    2305.14314, table 9) and 1e-3 for this package's miniature of width 192.

    Args:
        base: Hub id or folder of the model.
        at_2560: Rate for the width 2560.
    """
    width = read_config("--base", base).get_text_config().hidden_size
    return float(f"{at_2560 * math.sqrt(2560 / width):.1e}")
