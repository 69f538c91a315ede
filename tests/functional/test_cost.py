"""Direction of metrics, for every metric that the package measures."""

import numpy as np
import pytest

from semalign_pl.functional.cost import less_is_better, loss_of
from semalign_pl.report.results import COLUMNS


def test_every_metric_of_the_report_has_its_direction() -> None:
    assert {name: less_is_better(name) for name in COLUMNS} == {
        name: not column.higher_is_better for name, column in COLUMNS.items()
    }


@pytest.mark.parametrize(
    ("name", "cost"),
    [
        ("kl_p90", True),
        ("kl_mean", True),
        ("forward_kl", True),
        ("ppl", True),
        ("asr_wer", True),
        ("cer", True),
        ("val_loss", True),
        ("skill", False),
        ("glossary", False),
        ("tiny_avg", False),
        ("nll_avg", True),
        ("bbh_error_detection_acc_norm", False),  # tasks of lm-evaluation-harness
        ("ocr_errors_exact_match_strict_match", False),
        ("reading_kl_f1", False),
        ("exact_match_error", True),
        ("soccer", False),
    ],
)
def test_words_are_whole(name: str, cost: bool) -> None:
    assert less_is_better(name) == cost


def test_losses() -> None:
    assert loss_of("cmrc_f1", 20.0, 96.0) == 76.0 and loss_of("kl_mean", 0.5, 0.0) == 0.5
    assert loss_of("cmrc_em", np.array([90.0, 99.0]), np.array([95.0, 95.0])).tolist() == [5.0, -4.0]
