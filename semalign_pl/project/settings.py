"""Settings of the recipes: limits from the lengths of the rows, memory from the plan, rates from the base's width."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data.limits import limit_that_keeps
from semalign_pl.data.tasks import Translation
from semalign_pl.inspection.tokens import TokenCounter
from semalign_pl.plan.command import changes, proposal
from semalign_pl.plan.meta_policy import meta_policy, read_config, weight_bytes
from semalign_pl.plan.settings import Settings
from semalign_pl.policy.causal_lm import Weights
from semalign_pl.policy.settings import LoraSettings

LORA = LoraSettings(r=64, alpha=128, dropout=0.05)
GENERATIONS = 8
_STEP = 16  # limits are multiples of this
_EACH = 0.995  # share of prompts and of references that a limit keeps, so that both keep 99 % of the rows


@dataclass(frozen=True)
class Lengths:
    """Limits in tokens that keep 99 % of the rows.

    Attributes:
        prompt: Limit of prompts, with the chat template.
        completion: Limit of references, with the end-of-turn token.
        encoder: Limit of the sentence encoder's texts.
        kept: Share of the rows within both limits of the base.
    """

    prompt: int
    completion: int
    encoder: int
    kept: float


def measure_lengths(
    rows: Sequence[Mapping[str, str]], task: Translation, base: PromptEncoder, encoder: TokenCounter
) -> Lengths:
    """Limits that keep 99 % of the rows.

    Args:
        rows: Text of each field of each row.
        task: Task that makes the prompts.
        base: Tokenizer and chat template of the base.
        encoder: Tokenizer of the sentence encoder.
    """
    examples = [task.example(row, "") for row in rows]
    prompts = [len(ids) for ids in base.encode_prompts([e.policy_prompt for e in examples], 10**6)[0]]
    answers = [len(ids) for ids in base.encode_completions([e.reference for e in examples])]
    texts = [len(ids) + 2 for field in task.fields for ids in encoder.encode([row[field] for row in rows])]
    prompt, completion = (_round_up(limit_that_keeps(each, _EACH)) for each in (prompts, answers))
    kept = sum(p <= prompt and a <= completion for p, a in zip(prompts, answers, strict=True))
    return Lengths(prompt, completion, min(512, _round_up(limit_that_keeps(texts, _EACH))), kept / len(rows))


def _round_up(length: int) -> int:
    return math.ceil(length / _STEP) * _STEP


@dataclass(frozen=True)
class Machine:
    """Machine that the recipes are written for.

    Attributes:
        memory: Memory of the card in bytes, or of this computer without one.
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
        """
        if named is not None:
            return cls(named, True, True)
        if torch.cuda.is_available():
            return cls(torch.cuda.get_device_properties(0).total_memory, True, False)
        return cls(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), False, False)


def choose_weights(base: str, machine: Machine) -> Weights:
    """Precision of the frozen base: 16 bits on a card, 32 without one; 4 bits if that takes a quarter of the memory.

    Args:
        base: Hub id or folder of the base.
        machine: Machine that the recipes are written for.
    """
    whole: Weights = "bf16" if machine.cuda else "fp32"
    settings = Settings(base=base, stage="sft", weights=whole, lora=LORA, cuda=machine.cuda)
    taken = weight_bytes(meta_policy(settings.of_policy).causal_lm, whole)
    return whole if 4 * taken <= machine.memory else "nf4"


def plan_stages(
    base: str, weights: Weights, lengths: Lengths, machine: Machine, encoder: str, batch: int, prompts: int
) -> tuple[dict[str, int | bool], dict[str, int | bool], int]:
    """Options of SFT and of GRPO that fit the card, from ``semalign plan``; on a CPU, options that suit one.

    Args:
        base: Hub id or folder of the base.
        weights: Precision of the base.
        lengths: Limits of the rows.
        machine: Machine that the recipes are written for.
        encoder: Hub id or folder of the encoder that the trained encoder starts from.
        batch: Rows per step of SFT.
        prompts: Prompts per step of GRPO.

    Returns:
        Options of SFT, options of GRPO, and the larger of the two predicted peaks in bytes; 0 on a CPU.

    Raises:
        ValueError: If nothing fits.
    """
    if not machine.cuda:
        tokens = max(4096, lengths.prompt + lengths.completion)
        return {"micro_batch_tokens": tokens}, {"micro_batch_tokens": tokens, "rollout_rows": 8 * GENERATIONS}, 0
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
        cuda=True,
    )
    grpo = replace(
        sft,
        stage="grpo",
        rows=prompts * GENERATIONS,
        num_generations=GENERATIONS,
        encoders=((encoder, 2),),
        sampling=(("temperature", 0.8), ("top_p", 0.9), ("top_k", 0), ("min_p", 0.0)),
    )
    (sft_settings, sft_plan), (grpo_settings, grpo_plan) = (proposal(each, machine.memory) for each in (sft, grpo))
    return changes(sft_settings), changes(grpo_settings), max(sft_plan.peak, grpo_plan.peak)


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
