"""Log-probs with a shared prompt, against one plain forward pass per row."""

import random

import pytest
import torch
from tiny import CPU, gradient, plain_logps, relative, stir
from torch import Tensor

from semalign_pl.functional.logprobs import entropy
from semalign_pl.policy.batching import Completions, micro_batches
from semalign_pl.policy.load import LoraSettings, load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.score import LogprobScorer, compute_logprobs

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
        for part in batch.chunks:
            scored = scorer(part)
            assert scored.logps[~scored.mask].abs().sum() == scored.entropy[~scored.mask].abs().sum() == 0
            for row, logps, spread, mask in zip(scored.rows, scored.logps, scored.entropy, scored.mask, strict=True):
                out[int(row)] = logps[mask], spread[mask]
            if torch.is_grad_enabled():
                weighed = [(out[int(row)][0] * weights(int(row), len(out[int(row)][0]))).sum() for row in scored.rows]
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


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("recompute", [False, True])
def test_shared_equals_one_plain_forward_a_row(policy, budget: int, recompute: bool) -> None:
    expected = oracle(policy, ROWS)
    slope = gradient(policy)
    policy.zero_grad()
    found = score(policy, ROWS, budget, recompute)
    assert sorted(found) == [row for row in range(12) if ROWS.completions[row]]
    for row, (logps, _) in found.items():
        torch.testing.assert_close(logps, expected[row], atol=1e-5, rtol=0)
    assert slope.norm() > 1 and relative(gradient(policy), slope) < 1e-5


def test_recomputation_is_exact_with_dropout_too_and_leaves_the_model_as_it_was(base) -> None:
    policy = stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.3), None, CPU), seed=4)
    patched = [name for name, module in policy.named_modules() if "forward" in vars(module)]
    gradients = []
    for recompute in (False, True):
        policy.zero_grad()
        torch.manual_seed(5)
        score(policy, ROWS, 30, recompute)
        gradients.append(gradient(policy))
    assert gradients[0].norm() > 1 and relative(*gradients) < 1e-6
    assert policy.decoder.config._attn_implementation == "sdpa"
    assert patched == [name for name, module in policy.named_modules() if "forward" in vars(module)]


def test_nothing_leaks_between_siblings_nor_groups(policy) -> None:
    before = score(policy, ROWS, 10**6)
    for changed in (0, 5, 6):
        completions = [[350] * len(c) if row == changed else c for row, c in enumerate(ROWS.completions)]
        after = score(policy, Completions(ROWS.prompts, completions, ROWS.temperatures), 10**6)
        for row in before:
            if row == changed:
                assert (after[row][0] - before[row][0]).abs().max() > 0.05
            else:
                torch.testing.assert_close(after[row][0], before[row][0], atol=1e-5, rtol=0)


@pytest.mark.parametrize("budget", BUDGETS)
def test_score_all_is_without_gradient_and_restores_the_modes(policy, budget: int) -> None:
    policy.model.base_model.model.model.norm.eval()
    modes = [module.training for module in policy.modules()]
    scored = compute_logprobs(policy, ROWS, budget)
    assert scored.shape == (12, 9) and not scored.requires_grad
    for row, expected in enumerate(oracle(policy, ROWS)):
        torch.testing.assert_close(scored[row, : len(expected)], expected.detach(), atol=1e-5, rtol=0)
        assert scored[row, len(expected) :].abs().sum() == 0
    assert [module.training for module in policy.modules()] == modes


def test_entropy_is_at_the_rows_temperature_and_without_gradient(policy) -> None:
    found = score(policy, ROWS, 10**6)
    for row in (0, 5, 9):
        prompt, completion = ROWS.prompts[row], ROWS.completions[row]
        logits = policy.model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]
        torch.testing.assert_close(found[row][1], entropy(logits.detach(), ROWS.temperatures[row]), atol=1e-5, rtol=0)
        assert not found[row][1].requires_grad


def test_nothing_to_score() -> None:
    assert micro_batches(Completions([[5], [5]], [[], []]), 30) == []
