"""Divergence from targets by the engine, against full logits of PEFT's model, row by row, with autograd."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from helpers.logprob_oracle import BUDGETS, ROWS, weights
from helpers.tiny import CPU, gradient, relative, stir
from torch import Tensor

from semalign_pl.engine.completion_states import states_of_role
from semalign_pl.engine.logprobs import LogprobScorer
from semalign_pl.engine.micro_batches import Completions, micro_batches
from semalign_pl.engine.targets import Target
from semalign_pl.functional.losses import kl_k3
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings


def logits(policy: Policy, prompt: list[int], completion: list[int]) -> Tensor:
    return policy.model(input_ids=torch.tensor([prompt + completion])).logits[0, len(prompt) - 1 : -1]


def target_logits(policy: Policy, target: Target, prompt: list[int], completion: list[int]) -> Tensor:
    """PEFT's own switches: adapters disabled for the base, the adapter ``reference`` active for the reference."""
    given = prompt if target.prompt is None else target.prompt
    policy.eval()
    with torch.no_grad():
        if target.role == "base":
            with policy.model.disable_adapter():
                found = logits(policy, given, completion)
        elif target.role == "reference":
            requires = {name: p.requires_grad for name, p in policy.named_parameters()}
            policy.model.set_adapter("reference")
            found = logits(policy, given, completion)
            policy.model.set_adapter("default")
            for name, p in policy.named_parameters():
                p.requires_grad_(requires[name])
        else:
            found = logits(policy, given, completion)
    policy.train()
    return found


def plain(policy: Policy, rows: Completions, row: int) -> Tensor:
    """Divergence ``(tokens,)`` of one row from its target, by the plain formula."""
    assert rows.targets is not None and rows.temperatures is not None
    target, prompt, ids = rows.targets[row], rows.prompts[row], rows.completions[row]
    assert target is not None
    heat = rows.temperatures[row]
    q = (target_logits(policy, target, prompt, ids) / heat).log_softmax(-1)
    p = (logits(policy, prompt, ids) / heat).log_softmax(-1)
    if target.kind == "k3":
        chosen = range(len(ids)), ids
        return kl_k3(p[chosen], q[chosen])
    if target.kind == "jsd":
        m = ((p.exp() + q.exp()) / 2).log()
        return ((p.exp() * (p - m)).sum(-1) + (q.exp() * (q - m)).sum(-1)) / 2
    return (q.exp() * (q - p)).sum(-1) if target.kind == "forward_kl" else (p.exp() * (p - q)).sum(-1)


def compute(policy: Policy, rows: Completions, budget: int) -> dict[int, Tensor]:
    """Divergence of each row, with backward of a sum in which every token has another weight."""
    found = {}
    for batch in micro_batches(rows, budget):
        scorer = LogprobScorer(policy, rows, batch)
        for chunk in batch.chunks:
            scored = scorer(chunk)
            assert scored.divergence[~scored.mask].abs().sum() == 0
            for row, values, mask in zip(scored.indices, scored.divergence, scored.mask, strict=True):
                found[row] = values[mask]
            weighed = [(found[row] * weights(row, len(found[row]))).sum() for row in scored.indices]
            if scored.divergence.requires_grad:  # not of a chunk without a target
                torch.stack(weighed).sum().backward()
        scorer.backward()
    return found


@pytest.fixture
def policy(base, sft_adapter) -> Policy:
    """Policy that differs from its reference, and both from the base."""
    return stir(load_policy(base, "fp32", None, sft_adapter, CPU), seed=7)


MIXED = [
    Target("base"),
    Target("reference", "reverse_kl"),
    Target("base", "jsd"),
    Target("base", "k3"),
    Target("policy", "forward_kl", prompt=[5, 6, 7, 8, 9]),
    Target("reference", prompt=[11], logprobs=False),
]


@pytest.mark.parametrize("budget", BUDGETS)
@pytest.mark.parametrize("unshared", [False, True])
def test_divergence_and_gradient_are_those_of_full_logits(policy, budget: int, unshared: bool) -> None:
    """All kinds and roles in one step, rows without a target among them; whatever the micro-batch."""
    policy.prefix_sharing_unsupported_reason = "test" if unshared else None
    rows = replace(ROWS, targets=[*MIXED, None, *MIXED[:5]])
    kept = [row for row in range(12) if rows.completions[row] and row != 6]
    expected = {row: plain(policy, rows, row) for row in kept}
    torch.stack([(expected[row] * weights(row, len(expected[row]))).sum() for row in kept]).sum().backward()
    slope = gradient(policy)
    policy.zero_grad()
    found = compute(policy, rows, budget)
    assert found[6].abs().sum() == 0
    for row in kept:
        torch.testing.assert_close(found[row], expected[row], atol=2e-6, rtol=1e-4)
    assert slope.norm() > 1e-3 and relative(gradient(policy), slope) < 1e-4


def test_states_computed_before_give_the_same(policy) -> None:
    rows = replace(ROWS, targets=[Target("base")] * 12)
    kept = [row for row in range(12) if ROWS.completions[row]]
    given = Completions([ROWS.prompts[row] for row in kept], [ROWS.completions[row] for row in kept])
    states = dict(zip(kept, states_of_role(policy, "base", given, 10**6), strict=True))
    before = replace(ROWS, targets=[Target("base", states=states.get(row)) for row in range(12)])
    fresh, cached = compute(policy, rows, 10**6), compute(policy, before, 10**6)
    assert sorted(fresh) == sorted(cached) == kept
    for row in kept:
        torch.testing.assert_close(cached[row], fresh[row], atol=1e-7, rtol=1e-6)


def test_log_probs_that_no_term_needs_are_zeros_and_the_others_stay(policy) -> None:
    rows = replace(ROWS, targets=[Target("base", logprobs=row % 2 == 0) for row in range(12)])
    with torch.no_grad():
        for batch in micro_batches(ROWS, 10**6):
            for chunk in batch.chunks:
                whole, some = (LogprobScorer(policy, given, batch)(chunk) for given in (ROWS, rows))
                kept = torch.tensor(whole.indices) % 2 == 0
                torch.testing.assert_close(some.logps[kept], whole.logps[kept], atol=1e-6, rtol=0)
                torch.testing.assert_close(some.entropy[kept], whole.entropy[kept], atol=1e-6, rtol=0)
                assert kept.any() and not kept.all() and whole.logps[~kept].any()
                assert not some.logps[~kept].any() and not some.entropy[~kept].any()


@pytest.mark.parametrize("budget", BUDGETS)
def test_a_trained_head_needs_no_log_probs_either(base, budget: int) -> None:
    """All weights are trained, so the head is no frozen matrix; no token of some chunks needs its log-prob."""
    policy = stir(load_policy(base, "fp32", LoraSettings(variant="full"), None, CPU), seed=7, scale=0.1)
    rows = replace(ROWS, targets=[Target("base", logprobs=False)] * 12)
    kept = [row for row in range(12) if rows.completions[row]]
    expected = {row: plain(policy, rows, row) for row in kept}
    torch.stack([(expected[row] * weights(row, len(expected[row]))).sum() for row in kept]).sum().backward()
    slope = gradient(policy)
    policy.zero_grad()
    found = compute(policy, rows, budget)
    for row in kept:
        torch.testing.assert_close(found[row], expected[row], atol=2e-6, rtol=1e-4)
    assert slope.norm() > 1e-3 and relative(gradient(policy), slope) < 1e-4
