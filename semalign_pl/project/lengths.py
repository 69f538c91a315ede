"""Limits of the recipes, from the lengths of the rows."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from semalign_pl.chat.prompt_encoder import PromptEncoder
from semalign_pl.data.limits import limit_that_keeps
from semalign_pl.data.tasks import Instruction, Task, Translation
from semalign_pl.inspection.tokens import TokenCounter

REPLAYED = 1024
"""Maximum number of tokens of a replayed row: longer ones would set the memory of all others."""
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
    prompts, answers = _count_tokens(rows, task, base)
    texts = [len(ids) + 2 for field in task.fields for ids in encoder.encode([row[field] for row in rows])]
    prompt, completion = (_round_up(limit_that_keeps(each, _EACH)) for each in (prompts, answers))
    kept = sum(p <= prompt and a <= completion for p, a in zip(prompts, answers, strict=True))
    return Lengths(prompt, completion, min(512, _round_up(limit_that_keeps(texts, _EACH))), kept / len(rows))


def fit_replay(
    rows: Sequence[Mapping[str, str]], base: PromptEncoder, lengths: Lengths
) -> tuple[list[Mapping[str, str]], Lengths]:
    """Rows to replay that are not too long to train on, and limits that cut none of them.

    Args:
        rows: ``prompt`` and ``completion`` of each row.
        base: Tokenizer and chat template of the base.
        lengths: Limits of the pairs.

    Returns:
        Rows of at most `REPLAYED` tokens, or as many as a pair may have; and limits of pairs and rows.

    Raises:
        ValueError: If all rows are too long.
    """
    if not rows:
        return [], lengths
    counts = list(zip(*_count_tokens(rows, Instruction("{prompt}", "{completion}"), base), strict=True))
    most = max(REPLAYED, lengths.prompt + lengths.completion)
    kept = [place for place, count in enumerate(counts) if sum(count) <= most]
    if not kept:
        raise ValueError(f"--general: all {len(rows):,} rows have more than {most:,} tokens; give shorter ones")
    prompt, completion = (_round_up(max(counts[place][side] for place in kept)) for side in (0, 1))
    longer = replace(lengths, prompt=max(lengths.prompt, prompt), completion=max(lengths.completion, completion))
    return [rows[place] for place in kept], longer


def _count_tokens(rows: Sequence[Mapping[str, str]], task: Task, base: PromptEncoder) -> tuple[list[int], list[int]]:
    """Number of tokens of each row's prompt and reference."""
    examples = [task.example(row, "") for row in rows]
    prompts = base.encode_prompts([example.policy_prompt for example in examples], sys.maxsize)[0]
    answers = base.encode_completions([example.reference for example in examples])
    return list(map(len, prompts)), list(map(len, answers))


def _round_up(length: int) -> int:
    return math.ceil(length / _STEP) * _STEP
