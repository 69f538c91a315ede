"""Continuations of contexts: the log-likelihoods of plain forwards, from fewer forwarded tokens."""

from __future__ import annotations

import random

import pytest
import torch
from helpers.tiny import CPU, plain_logps, stir

from semalign_pl.engine import continuations as module
from semalign_pl.engine.continuations import score_continuations
from semalign_pl.engine.shared_prefixes import SHORTEST_PREFIX
from semalign_pl.policy.load import load_policy
from semalign_pl.policy.policy import Policy
from semalign_pl.policy.settings import LoraSettings

EXAMPLES = 40
"""Number of tokens that many contexts begin with."""
Ids = list[int]


def draw(tokens: int, seed: int) -> Ids:
    generator = random.Random(seed)
    return [generator.randrange(3, 300) for _ in range(tokens)]


@pytest.fixture
def policy(base: str) -> Policy:
    return stir(load_policy(base, "fp32", LoraSettings(4, 8, 0.2), None, CPU), seed=1)


@pytest.fixture
def asked() -> tuple[list[Ids], list[list[Ids]]]:
    """Contexts with a common beginning, one of them nothing but it and one twice, and two of their own."""
    head = draw(EXAMPLES, 0)
    contexts = [head + draw(n, 10 + n) for n in (5, 0, 9, 1, 5)] + [draw(7, 1), draw(70, 2)]
    lengths = [(1, 1, 1, 1), (3, 1), (2, 7, 4), (), (5,), (1, 6, 2), (4, 4)]
    options = [[draw(n, 100 + 7 * i + k) for k, n in enumerate(row)] for i, row in enumerate(lengths)]
    return contexts, options


def forwarded_tokens(policy: Policy) -> list[int]:
    """List to which every forward of the decoder appends its number of tokens."""
    counts: list[int] = []
    policy.decoder.register_forward_pre_hook(
        lambda _, args, options: counts.append(options["input_ids"].numel()), with_kwargs=True
    )
    return counts


@pytest.mark.parametrize("limits", [{}, {"_TOKENS": 1}, {"_SCORES": 1}, {"_LARGEST_GROUP": 2}])
@pytest.mark.parametrize("rows", [1, 4, 128])
def test_scores_are_those_of_plain_forwards(policy, asked, rows: int, limits: dict[str, int], monkeypatch) -> None:
    for name, value in limits.items():
        monkeypatch.setattr(module, name, value)
    contexts, options = asked
    policy.train()
    scored = score_continuations(policy, contexts, options, rows=rows)
    assert policy.training
    policy.eval()
    for context, of_context, continuations in zip(contexts, scored, options, strict=True):
        assert [one.tokens for one in of_context] == list(map(len, continuations))
        expected = [plain_logps(policy.model, context, ids).sum().item() for ids in continuations]
        assert [one.logprob for one in of_context] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("reason", [None, "a test"])
def test_a_greedy_continuation_is_recognised(policy, asked, reason: str | None) -> None:
    """Transformers' own greedy tokens, and the same with another last or first token."""
    policy.prefix_sharing_unsupported_reason = reason
    contexts, _ = asked
    policy.eval()
    options = []
    for context in contexts:
        ids = torch.tensor([context])
        best = policy.model.generate(input_ids=ids, do_sample=False, max_new_tokens=4, eos_token_id=-1, pad_token_id=0)
        best = best[0, len(context) :].tolist()
        options.append([best, best[:1], [*best[:3], best[3] + 1], [best[0] + 1, *best[1:]]])
    scored = score_continuations(policy, contexts, options)
    assert {tuple(one.greedy for one in of_context) for of_context in scored} == {(True, True, False, False)}


def test_without_sharing_the_scores_are_the_same(policy, asked) -> None:
    shared = score_continuations(policy, *asked)
    policy.prefix_sharing_unsupported_reason = "a test"
    counts = forwarded_tokens(policy)
    for rows in (2, 128):
        alone = score_continuations(policy, *asked, rows=rows)
        for one, other in zip(shared, alone, strict=True):
            assert [of.logprob for of in one] == pytest.approx([of.logprob for of in other], rel=1e-5)
            assert [(of.tokens, of.greedy) for of in one] == [(of.tokens, of.greedy) for of in other]
    assert max(counts[1:]) > 0 and len(counts) > 2


def test_contexts_and_what_they_begin_with_are_forwarded_once(policy) -> None:
    """Fifty questions after the same examples: the examples once, each question once, no token of one-token options."""
    assert EXAMPLES >= SHORTEST_PREFIX
    examples = draw(EXAMPLES, 0)
    contexts = [examples + [n + 3] + draw(9, n) for n in range(50)]
    counts = forwarded_tokens(policy)
    score_continuations(policy, contexts, [[[5], [6], [7], [8]]] * 50)
    assert sum(counts) == EXAMPLES + 50 * 10
    counts.clear()
    score_continuations(policy, contexts, [[draw(4, 1), draw(6, 2)]] * 50, rows=16)
    assert sum(counts) == EXAMPLES + 50 * (10 + 3 + 5)
    assert len(counts) == 1 + 7  # fifty contexts of two continuations, eight contexts at once


def test_no_contexts_and_contexts_without_continuations(policy) -> None:
    assert score_continuations(policy, [], []) == []
    assert score_continuations(policy, [[5], [6]], [[], []]) == [[], []]
