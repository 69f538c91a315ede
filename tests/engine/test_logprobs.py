"""Log-probs with a shared prompt, against one plain forward pass per row."""

import pytest
import torch
from helpers.logprob_oracle import BUDGETS, ROWS, oracle, score
from helpers.tiny import CPU, gradient, relative, stir

from semalign_pl.engine.logprobs import compute_logprobs
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.functional.logprobs import entropy
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.settings import LoraSettings


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


@pytest.mark.parametrize(("mixed", "budget"), [(False, 30), (True, 30), (True, 10**6)])
def test_recomputation_is_exact_with_dropout_too_and_leaves_the_model_as_it_was(base, mixed: bool, budget: int) -> None:
    policy = stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.3), None, CPU), seed=4)
    patched = [name for name, module in policy.named_modules() if "forward" in vars(module)]
    gradients = []
    for recompute in (False, True):
        policy.zero_grad()
        torch.manual_seed(5)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            score(policy, ROWS, budget, recompute)
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
