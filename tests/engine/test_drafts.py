"""Drafts save decoding steps and change no token, whatever they are."""

import random

import pytest
import torch
from helpers.sampling import HOT, common, ids
from helpers.tiny import stir

from semalign_pl.engine import drafts as drafting
from semalign_pl.engine import generate as sampling
from semalign_pl.engine.decoding import DecodeState
from semalign_pl.engine.fixed_decoding import FixedDecodeState
from semalign_pl.engine.generate import generate

OPTIONS = {"num_generations": 3, **HOT, "max_new_tokens": 20}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of live completions of each decoding step."""
    widths: list[int] = []
    step = DecodeState.step

    def record(self: DecodeState, chosen: torch.Tensor) -> torch.Tensor:
        widths.append(len(chosen))
        return step(self, chosen)

    monkeypatch.setattr(DecodeState, "step", record)
    return widths


def spoil(rows: list[list[int]], eos: tuple[int, ...]) -> list[list[int]]:
    """Drafts of all kinds: right, none, cut, wrong from some token on, longer than the completion, all wrong."""
    rng = random.Random(0)
    kinds = [
        lambda row: row,
        lambda row: [],
        lambda row: row[: len(row) // 2],
        lambda row: [*row[: rng.randrange(len(row))], 3, 4, 5],
        lambda row: [*(row[:-1] if row[-1] in eos else row), *[6] * 30],
        lambda row: [7, 8],
    ]
    return [kinds[i % len(kinds)](row) for i, row in enumerate(rows)]


@pytest.mark.parametrize(("kind", "interval"), [(DecodeState, 1), (FixedDecodeState, 3)])
@pytest.mark.parametrize("rows", [6, 128])
@pytest.mark.parametrize("checked", [2, 16])
def test_any_draft_changes_nothing(policy, prompts, monkeypatch, kind, interval: int, rows: int, checked: int) -> None:
    policy.eos_ids = common(policy, prompts)
    head = [[9, *[i % 7 for i in range(80)]]]  # long enough to be shared between prompts
    many = [*prompts, *(head[0] + [*prompt, 300 + i] for i in range(2) for prompt in prompts), head[0]]
    expected = ids(generate(policy, many, **OPTIONS))
    assert len({len(row) for row in expected}) > 3
    monkeypatch.setattr(sampling, "DecodeState", kind)
    monkeypatch.setattr(sampling, "check_interval", lambda _: interval)
    monkeypatch.setattr(drafting, "CHECKED_TOKENS", checked)
    drafted = generate(policy, many, rows=rows, drafts=spoil(expected, policy.eos_ids), **OPTIONS)
    assert ids(drafted) == expected
    assert drafted.reused_tokens > 0.3 * sum(map(len, expected))
    assert drafted.finished.tolist() == [row[-1] in policy.eos_ids for row in expected]


def test_right_drafts_need_no_step_and_drafts_of_another_policy_fewer(policy, prompts, steps: list[int]) -> None:
    policy.eos_ids = common(policy, prompts)
    expected = ids(generate(policy, prompts, **OPTIONS))
    decoded = sum(steps)
    steps.clear()
    same = generate(policy, prompts, drafts=expected, **OPTIONS)
    assert ids(same) == expected and steps == [] and same.reused_tokens == sum(map(len, expected))
    stir(policy, seed=5, scale=0.02)
    changed = ids(generate(policy, prompts, **OPTIONS))
    without = sum(steps)
    steps.clear()
    drafted = generate(policy, prompts, drafts=expected, **OPTIONS)
    assert ids(drafted) == changed != expected
    assert 0 < drafted.reused_tokens and sum(steps) < without <= 2 * decoded


def test_one_seed_per_prompt(policy, prompts) -> None:
    """A prompt's completions depend on its own seed alone."""
    policy.eos_ids = common(policy, prompts)
    options = {**OPTIONS, "seed": [11, 12, 13, 14]}
    together = ids(generate(policy, prompts, **options))
    for i, prompt in enumerate(prompts):
        assert ids(generate(policy, [prompt], **{**options, "seed": 11 + i})) == together[3 * i : 3 * i + 3]
    assert ids(generate(policy, [], **{**options, "seed": []})) == []


def test_a_draft_longer_than_the_longest_is_cut(policy, prompts, monkeypatch) -> None:
    policy.eos_ids = (-1,)
    expected = ids(generate(policy, prompts, **OPTIONS))
    monkeypatch.setattr(sampling, "LONGEST_DRAFT", 5)
    drafted = generate(policy, prompts, drafts=expected, **OPTIONS)
    assert ids(drafted) == expected and drafted.reused_tokens == 5 * len(expected)
