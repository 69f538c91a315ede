"""Direction of metrics, for every metric that the package measures."""

import numpy as np
import pytest

from semalign_pl.functional.cost import loss_of, rises
from semalign_pl.report.results import COLUMNS


def test_every_metric_of_the_report_has_its_direction() -> None:
    assert {name: rises(name) for name in COLUMNS} == {
        name: not column.higher_is_better for name, column in COLUMNS.items()
    }


@pytest.mark.parametrize(
    ("name", "rising"),
    [("kl_p90", True), ("forward_kl", True), ("val_loss", True), ("skill", False), ("glossary", False)],
)
def test_words_are_whole(name: str, rising: bool) -> None:
    assert rises(name) == rising


def test_losses() -> None:
    assert loss_of("cmrc_f1", 20.0, 96.0) == 76.0 and loss_of("kl_mean", 0.5, 0.0) == 0.5
    assert loss_of("cmrc_em", np.array([90.0, 99.0]), np.array([95.0, 95.0])).tolist() == [5.0, -4.0]
