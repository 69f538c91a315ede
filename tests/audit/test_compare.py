"""AUC, spread and verdict against tables computed by hand."""

from __future__ import annotations

import math
from statistics import NormalDist

import pytest
import torch
from scipy.stats import mannwhitneyu

from semalign_pl.audit.compare import Z, against_damage, against_spoilers, auc, spread
from semalign_pl.audit.groups import LEVELS, slots
from semalign_pl.audit.scores import Scores
from semalign_pl.audit.spoilers import SPOILERS
from semalign_pl.audit.verdict import judge_total
from semalign_pl.functional.composition import total_reward
from semalign_pl.rewards.base import Reward

NAN = float("nan")
PLACE = {slot: index for index, slot in enumerate(slots())}


class Plain(Reward):
    """Reward whose scores the test gives."""

    def __init__(self, name: str, weight: float = 1.0, gate: bool = False) -> None:
        super().__init__(weight)
        self.given, self.gate = name, gate

    @property
    def name(self) -> str:
        return self.given

    def score(self, **_: list[str]) -> list[float]:
        return []


def table(groups: int, **faults: float) -> torch.Tensor:
    """Rewards of groups: 1 minus the share of damaged words; a spoiled draft earns ``faults[NAME]`` more."""
    rewards = torch.full((groups, len(PLACE)), NAN)
    for (name, level), place in PLACE.items():
        rewards[:, place] = 1 - level + (faults.get(name, -1.0) if name in SPOILERS else 0.0)
    return rewards


def test_auc_by_hand() -> None:
    found = auc(torch.tensor([1.0, 0.5, 0.2, 0.3]), torch.tensor([0.0, 0.50005, 0.9, NAN]))
    assert (found.pairs, found.value) == (3, 0.5)  # won, tied (float noise), lost
    drafts = auc(torch.tensor([[1.0, 0.0], [1.0, NAN]]), torch.tensor([[0.5, 0.5], [0.5, 0.5]]))
    assert (drafts.pairs, drafts.value) == (2, 0.75)  # (half won) and (won)
    assert math.isnan(auc(torch.tensor([NAN]), torch.tensor([1.0])).value)


def test_one_prompts_auc_is_that_of_mann_and_whitney() -> None:
    for better, worse in ((0.3, 0.1), (0.1, 0.3), (0.2, 0.2)):
        expected = mannwhitneyu([better], [worse]).statistic
        assert auc(torch.tensor([better]), torch.tensor([worse])).value == expected


def test_intervals_hold_for_all_comparisons_together() -> None:
    assert pytest.approx(NormalDist().cdf(Z)) == 1 - 0.05 / (2 * len(SPOILERS) * len(LEVELS))
    won = auc(torch.ones(200), torch.zeros(200))
    assert won.high == 1.0 and won.low == pytest.approx(200 / (200 + Z**2))  # Wilson's bound without a failure


def test_damage_and_spread_by_hand() -> None:
    rewards = table(3)
    rewards[:, PLACE["b", 0.25]] += 0.2  # luck: 0.75 and 0.95
    assert against_damage(rewards).value == 1.0
    found = spread(rewards)
    means = torch.tensor([1.0, 0.85, 0.5])
    assert found.quality == pytest.approx(float(means.std()))
    assert found.noise == pytest.approx(math.sqrt((0.2**2 / 2 + 0.0) / 2))  # variances of two drafts, mean over shares


def scores(*columns: torch.Tensor, rewards: list[Reward]) -> Scores:
    return Scores(torch.stack(columns), rewards, "sum_then_normalize")


def test_the_total_is_grpos() -> None:
    first, gate = torch.rand(4, len(PLACE)), torch.randint(0, 2, (4, len(PLACE))).float()
    rewards: list[Reward] = [Plain("a", 1.5), Plain("g", gate=True)]
    expected = total_reward(torch.stack([first.flatten(), gate.flatten()]), [1.5, 1.0], [False, True])
    assert torch.equal(scores(first, gate, rewards=rewards).total().flatten(), expected)


def test_a_sound_reward_passes() -> None:
    verdict = judge_total(scores(table(100), rewards=[Plain("a")]))
    assert not verdict.refused and not verdict.warnings


def test_what_pays_is_refused_with_its_name() -> None:
    verdict = judge_total(scores(table(100, copied_source=0.5), rewards=[Plain("a")]))
    assert (
        verdict.refused and "it pays for copying the source" in str(verdict) and "100% of 100 prompts" in str(verdict)
    )


def test_what_is_not_noticed_is_a_warning() -> None:
    verdict = judge_total(scores(table(100, shorter=0.0), rewards=[Plain("a")]))
    assert not verdict.refused
    (warning,) = verdict.warnings
    assert warning.startswith("it does not notice stopping early: AUC 0.50")


def test_a_reward_that_prefers_no_draft_is_refused() -> None:
    constant = torch.zeros(100, len(PLACE))
    verdict = judge_total(scores(constant, rewards=[Plain("a")]))
    assert verdict.refused and "not shown to prefer drafts with fewer wrong words" in str(verdict)


def test_a_weakness_of_one_reward_is_no_reason_if_the_total_has_none() -> None:
    weak, other = table(100, copied_source=0.5), table(100, copied_source=-3.0)
    verdict = judge_total(scores(weak, other, rewards=[Plain("weak"), Plain("other")]))
    assert not verdict.refused
    assert verdict.warnings == [
        "only the reward 'other' keeps it from paying for copying the source: keep its weight, or its gate"
    ]


def test_few_prompts_refuse_nothing_for_a_close_result() -> None:
    rewards = table(30, copied_source=-1.0)
    rewards[:17, PLACE["copied_source", 0.5]] += 2.0  # pays in 17 of 30 prompts
    assert not judge_total(scores(rewards, rewards=[Plain("a")])).refused
    assert against_spoilers(rewards)["copied_source", 0.5].value == pytest.approx(13 / 30)
