"""Micro-batches cover all rows once, within their budget."""

import random

import pytest

from semalign_pl.engine.micro_batches import Completions, micro_batches


def rows(seed: int) -> Completions:
    draw = random.Random(seed)
    prompts = [[i] * draw.randint(1, 30) for i in range(6)]
    lengths = [0 if draw.random() < 0.1 else draw.randint(1, 20) for _ in range(48)]
    return Completions([prompts[i // 8] for i in range(48)], [[7] * n for n in lengths])


@pytest.mark.parametrize("budget", [1, 25, 60, 400, 10**6])
@pytest.mark.parametrize("seed", range(5))
def test_each_row_once_and_within_the_budget(budget: int, seed: int) -> None:
    scored = rows(seed)
    seen, prompts = [], []
    for batch in micro_batches(scored, budget):
        assert len(batch.chunks) == 1 or len(batch.prompts) == 1
        prompts += batch.prompts
        for part in batch.chunks:
            assert len(part) == len(batch.prompts)
            members = [row for group in part for row in group]
            size = sum(map(len, batch.prompts)) + sum(len(scored.completions[row]) for row in members)
            assert size <= budget or len(members) == 1
            for prompt, group in zip(batch.prompts, part, strict=True):
                assert all(scored.prompts[row] == prompt for row in group)
            seen += members
    assert sorted(seen) == [row for row, completion in enumerate(scored.completions) if completion]
    assert len({tuple(prompt) for prompt in prompts}) == len(prompts)  # no prompt is forwarded twice


def test_a_group_beyond_the_budget_is_split_behind_one_prompt() -> None:
    (batch,) = micro_batches(Completions([[1] * 10] * 8, [[2] * 4] * 8), 22)
    assert [len(part[0]) for part in batch.chunks] == [3, 3, 2] and batch.prompts == [[1] * 10]


def test_memory_does_not_grow_with_the_group() -> None:
    for size in (8, 64):
        batches = micro_batches(Completions([[1] * 10] * size, [[2] * 5] * size), 40)
        assert max(len(group) for batch in batches for part in batch.chunks for group in part) == 6


def test_nothing_to_score_makes_no_micro_batch() -> None:
    assert micro_batches(Completions([], []), 8) == micro_batches(Completions([[1], [1]], [[], []]), 8) == []
