"""The paper's rescaled similarity, against numbers computed by hand."""

import pytest
import torch

from semalign_pl.functional.similarity import rescale


@pytest.mark.parametrize(
    ("similarity", "tau", "reward"),
    [
        (1.0, 0.5, 1.0),
        (0.75, 0.5, 0.5),
        (0.5, 0.5, 0.0),
        (0.4999, 0.5, 0.0),
        (-1.0, 0.5, 0.0),
        (0.6, 0.2, 0.5),
        (0.25, 0.0, 0.25),
        (0.0, -1.0, 0.5),
        (-1.0, -1.0, 0.0),
        (0.999, 0.99, 0.9),
    ],
)
def test_by_hand(similarity: float, tau: float, reward: float) -> None:
    assert rescale(torch.tensor(similarity, dtype=torch.float64), tau).item() == pytest.approx(reward, abs=1e-12)


def test_shape_dtype_and_nan_are_kept() -> None:
    out = rescale(torch.tensor([[0.9, float("nan")], [0.1, 0.5]]), 0.5)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, torch.tensor([[0.8, float("nan")], [0.0, 0.0]]), equal_nan=True)


@pytest.mark.parametrize("tau", [1.0, 1.5, -1.01, float("nan")])
def test_threshold_outside_the_range(tau: float) -> None:
    with pytest.raises(ValueError, match="tau: .* give a number in"):
        rescale(torch.zeros(1), tau)
