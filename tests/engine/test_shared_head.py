"""The head that all prompts of a micro-batch begin with is forwarded once: the same values from fewer tokens."""

import random

import pytest
import torch
from helpers.logprob_oracle import oracle, score
from helpers.tiny import relative

from semalign_pl.engine.micro_batches import Completions
from semalign_pl.engine.shared_prefixes import LONGEST_SUFFIX, SHORTEST_PREFIX, shared_head
from semalign_pl.policy.policy import Policy

HEAD = SHORTEST_PREFIX + 3


def draw(tokens: int, seed: int) -> list[int]:
    generator = random.Random(seed)
    return [generator.randrange(3, 300) for _ in range(tokens)]


def rows(head: int) -> Completions:
    """One completion per prompt, of which one has a single token; prompts begin alike and then differ."""
    prompts = [draw(head, 1) + [10 + n, *draw(n, 20 + n)] for n in (4, 0, 7, 2)]
    completions = [draw(n, 30 + n) for n in (5, 1, 9, 3)]
    return Completions(prompts, completions, [1.0, 0.8, 1.0, 1.2])


@pytest.mark.parametrize("recompute", [False, True])
def test_values_and_gradients_are_those_of_plain_forwards(policy: Policy, recompute: bool) -> None:
    batch = rows(HEAD)
    counts: list[int] = []
    hook = policy.decoder.register_forward_pre_hook(
        lambda module, args, options: counts.append(options["input_ids"].numel()), with_kwargs=True
    )
    trained = {name: p for name, p in policy.named_parameters() if p.requires_grad}
    try:
        policy.zero_grad()
        found = score(policy, batch, 10**6, recompute)
        gradients = {name: p.grad.clone() for name, p in trained.items()}
        # The last token of a completion is not fed.
        assert counts[0] == HEAD + sum(
            len(p) - HEAD + len(c) - 1 for p, c in zip(batch.prompts, batch.completions, strict=True)
        )
        policy.zero_grad()
        wanted = oracle(policy, batch)
        for row, logps in enumerate(wanted):
            torch.testing.assert_close(found[row][0], logps, atol=1e-5, rtol=0)
        for name, parameter in trained.items():
            assert relative(gradients[name], parameter.grad) < 1e-4, name
    finally:
        hook.remove()
        policy.zero_grad()


def test_when_it_pays() -> None:
    """Heads of three rows or more; not if they are short, or little of the whole, or attention would be large."""
    batch = rows(HEAD)
    whole = [p + c for p, c in zip(batch.prompts, batch.completions, strict=True)]
    assert shared_head(batch.prompts, whole) == HEAD
    assert shared_head(batch.prompts[:1], whole[:1]) == 0
    short = rows(SHORTEST_PREFIX - 1)
    assert shared_head(short.prompts, [p + c for p, c in zip(short.prompts, short.completions, strict=True)]) == 0
    assert shared_head(batch.prompts, [row + draw(4 * HEAD, 5) for row in whole]) == 0
    longer = rows(LONGEST_SUFFIX)
    assert shared_head(longer.prompts, [p + draw(LONGEST_SUFFIX, 6) for p in longer.prompts]) == 0
    # A prompt that ends where the head does keeps one token of its own, which predicts its completion's first.
    ending = [draw(HEAD, 1), *batch.prompts]
    assert shared_head(ending, ending) == HEAD - 1
