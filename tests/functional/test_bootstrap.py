"""Bootstrap: deterministic, and with intervals as wide as theory predicts."""

import pytest
import torch

from semalign_pl.functional.bootstrap import confidence_interval, resample_counts


def test_counts_are_draws_with_replacement() -> None:
    counts = torch.stack(list(resample_counts(50, 2000, seed=1)))
    assert counts.dtype == torch.float64
    assert (counts.sum(1) == 50).all()
    assert counts.mean(0).sub(1).abs().max() < 0.12
    assert counts.var().item() == pytest.approx(1 - 1 / 50, abs=0.02)  # binomial(50, 1/50)


@pytest.mark.parametrize(("rows", "resamples"), [(1, 3), (7, 5), (300, 1000)])
def test_counts_are_those_of_one_draw_per_resample(rows: int, resamples: int) -> None:
    """Also across calls that draw many resamples at once: published intervals depend on the order of the draws."""
    generator = torch.Generator().manual_seed(3)
    counts = list(resample_counts(rows, resamples, seed=3))
    assert len(counts) == resamples
    for one in counts:
        drawn = torch.randint(rows, (rows,), generator=generator)
        assert torch.equal(one, torch.bincount(drawn, minlength=rows).double())


def test_same_seed_same_interval_and_the_global_generator_is_left_alone() -> None:
    rows = torch.randn(40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    before = torch.get_rng_state()

    def interval(seed: int) -> tuple[float, float]:
        return confidence_interval(lambda counts: (counts @ rows / 40).item(), 40, 200, seed)

    assert interval(1) == interval(1)
    assert interval(1) != interval(2)
    assert torch.equal(before, torch.get_rng_state())


def test_covers_the_mean_about_95_times_in_100() -> None:
    generator = torch.Generator().manual_seed(7)
    covered = 0
    for trial in range(200):
        rows = torch.randn(60, generator=generator, dtype=torch.float64) + 3
        low, high = confidence_interval(lambda counts, rows=rows: (counts @ rows / 60).item(), 60, 200, seed=trial)
        covered += low < 3 < high
    assert 0.90 <= covered / 200 <= 0.98


def test_percentiles() -> None:
    values = iter(range(101))
    assert confidence_interval(lambda _: float(next(values)), 3, 101) == (2.5, 97.5)
