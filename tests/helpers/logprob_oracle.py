"""Rows to forward, their log-probs and gradients by the engine, and by one plain forward per row (the oracle)."""

import random

import torch
from torch import Tensor

from helpers.tiny import plain_logps
from semalign_pl.engine.logprobs import LogprobScorer
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.policy.policy import Policy

BUDGETS = [1, 30, 10**6]  # every row alone, split groups, all at once


def draw_rows(vocabulary: int = 300) -> Completions:
    """Four groups of three; prompts of four lengths, completions of one to nine tokens and an empty one."""
    draw = random.Random(0)
    prompts = [[draw.randrange(3, vocabulary) for _ in range(n)] for n in (9, 4, 1, 17)]
    lengths = [5, 1, 3, 7, 2, 9, 4, 6, 0, 1, 1, 1]
    completions = [[draw.randrange(3, vocabulary) for _ in range(n)] for n in lengths]
    return Completions([prompts[i // 3] for i in range(12)], completions, [0.8 + 0.1 * (i % 3) for i in range(12)])


ROWS = draw_rows()


def score(policy: Policy, rows: Completions, budget: int, recompute: bool = False) -> dict[int, tuple]:
    """Log-probs and entropy of each row, and the gradient of a sum in which every token has another weight."""
    out = {}
    for batch in micro_batches(rows, budget):
        scorer = LogprobScorer(policy, rows, batch, recompute)
        for chunk in batch.chunks:
            scored = scorer(chunk)
            assert scored.logps[~scored.mask].abs().sum() == scored.entropy[~scored.mask].abs().sum() == 0
            for row, logps, spread, mask in zip(scored.indices, scored.logps, scored.entropy, scored.mask, strict=True):
                out[row] = logps[mask], spread[mask]
            if torch.is_grad_enabled():
                weighed = [(out[row][0] * weights(row, len(out[row][0]))).sum() for row in scored.indices]
                torch.stack(weighed).sum().backward()
        scorer.backward()
    return out


def weights(row: int, tokens: int) -> Tensor:
    return torch.arange(1.0, tokens + 1).sin() + row / 10


def oracle(policy: Policy, rows: Completions) -> list[Tensor]:
    """Row by row, without sharing; backward of the same weighted sum."""
    out = []
    for row, (prompt, completion) in enumerate(zip(rows.prompts, rows.completions, strict=True)):
        out.append(plain_logps(policy.model, prompt, completion, rows.temperatures[row] if rows.temperatures else 1.0))
        if completion:
            (out[-1] * weights(row, len(completion))).sum().backward()
    return out
