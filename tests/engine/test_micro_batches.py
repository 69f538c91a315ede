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


def test_short_answers_and_long_texts_are_forwarded_apart() -> None:
    """Together, 40 groups of 3 rows of 50 tokens were padded for 16 answers of 11 tokens and 24 texts of 50."""
    answers = [([i] * 43, [7] * 11) for i in range(16)]
    texts = [([100 + i // 3], [7] * (50 - i)) for i in range(24)]
    scored = Completions([prompt for prompt, _ in answers + texts], [ids for _, ids in answers + texts])
    of_answers, of_texts = micro_batches(scored, 10**6)
    assert sum(of_answers.chunks[0], []) == [*range(16)] and sorted(sum(of_texts.chunks[0], [])) == [*range(16, 40)]


@pytest.mark.parametrize("longest", [16, 128])
def test_completions_of_a_group_of_any_length_stay_together(longest: int) -> None:
    """GRPO's completions and SFT's answers of uneven length are packed as before."""
    draw = random.Random(0)
    sampled = [([i] * 96, [7] * draw.randint(4, longest)) for i in range(4) for _ in range(8)]
    answers = [([i] * draw.randint(20, 100), [7] * draw.randint(4, longest)) for i in range(32)]
    for pairs in (sampled, answers):
        assert len(micro_batches(Completions([p for p, _ in pairs], [c for _, c in pairs]), 10**6)) == 1
