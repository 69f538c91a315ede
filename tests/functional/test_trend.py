"""Rising reward with falling metric: numbers by hand, the rate of false alarms, and changes too small to count."""

import math

import pytest
import torch
from torch import Tensor

from semalign_pl.functional.trend import compare


def series(means: list[float] | Tensor, variance: float = 1.0) -> Tensor:
    means = torch.as_tensor(means, dtype=torch.float64)
    return torch.stack([means, torch.full_like(means, variance)], 1)


def test_figures_by_hand() -> None:
    metric = series([4.0, 6.0, 7.0, 7.0, 3.0, 1.0], variance=4.0)
    reward = series([0.0, 0.0, 0.0, 1.0, 2.0, 2.0], variance=0.25)
    found = compare(reward, metric, window=2)
    assert found is not None
    assert (found.before, found.after) == ([2, 3], [4, 5])
    # Successive differences 2 1 0 -4 -2: mean square 5, so one step's noise is √2.5 and the error √(2.5 · 2 / 2).
    assert (found.metric.before, found.metric.after) == (7.0, 2.0)
    assert found.metric.z == pytest.approx(-5 / math.sqrt(2.5)) and found.metric.effect == pytest.approx(-2.5)
    # 0 0 1 1 0: mean square 0.4.
    assert (found.reward.before, found.reward.after) == (0.5, 2.0)
    assert found.reward.z == pytest.approx(1.5 / math.sqrt(0.2)) and found.reward.effect == pytest.approx(3.0)
    assert found.diverges(z=3.0, effect=2.5)
    assert not found.diverges(z=3.3, effect=2.5) and not found.diverges(z=3.0, effect=2.6)


def test_only_a_climb_beside_a_fall() -> None:
    step = torch.arange(60.0, dtype=torch.float64)
    noise = 0.1 * torch.randn(60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    up, down, flat = series(step / 20 + noise), series(-step / 20 - noise.flip(0)), series(noise)
    moves = {"up": up, "down": down, "flat": flat}
    diverging = {
        (a, b) for a in moves for b in moves if (found := compare(moves[a], moves[b])) is not None and found.diverges()
    }
    assert diverging == {("up", "down")}


def test_too_few_steps_and_steps_without_a_score() -> None:
    step = torch.arange(20.0, dtype=torch.float64)
    noise = 0.01 * (-1) ** step
    up, down = series(step + noise), series(-step - noise)
    assert compare(up[:19], down[:19]) is None
    assert compare(up, down) is not None
    down[3] = float("nan")
    assert compare(up, down) is None
    found = compare(up, down, window=9)
    assert found is not None and found.diverges() and found.before == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_what_never_varies_and_rounding_are_no_change() -> None:
    constant = series([1 / 3] * 30, variance=0.0)
    rounded = constant.clone()
    rounded[15:, 0] += 1e-9
    for reward, metric in ((constant, constant), (rounded, -rounded)):
        found = compare(reward, metric)
        assert found is not None and found.reward.z == found.metric.z == 0.0 and not found.diverges()
    jump = series([0.0] * 15 + [1.0] * 15, variance=0.0)
    found = compare(jump, -jump)
    assert found is not None and found.diverges()


@pytest.mark.parametrize("opposite, most", [(True, 1), (False, 0)])
def test_false_alarms_without_a_trend(opposite: bool, most: int) -> None:
    """3 of 400 and 0 of 400 runs over 500 steps; here 60 runs of 150 steps, checked after every third step."""
    generator = torch.Generator().manual_seed(0)
    alarms = 0
    for _ in range(60):
        metric, other = 0.7 * torch.randn(2, 150, generator=generator, dtype=torch.float64)
        reward, metric = series(-metric if opposite else other), series(metric)
        found = [compare(reward[:steps], metric[:steps]) for steps in range(20, 151, 3)]
        alarms += any(one is not None and one.diverges() for one in found)
    assert alarms <= most
