"""Share of texts in the language."""

import math
from importlib.metadata import version

import pytest

from semalign_pl.metrics import LanguageConsistency, ReferenceConsistency


def test_share() -> None:
    metric = LanguageConsistency("bo")
    predictions = ["བོད་ཡིག", "བོད་中", "", "བོད་\ufffd", "བོད་། ༡༢"]
    assert metric.per_row(predictions, [""] * 5) == [1.0, 0.0, 0.0, 0.0, 1.0]
    metric.update(predictions, [""] * 5)
    assert metric.compute() == 0.4
    signature = f"consistency:script_extensions|scripts:Tibetan|lang:bo|rule:2|regex:{version('regex')}"
    assert metric.signature == signature


def test_the_references_own_share_is_their_ceiling() -> None:
    metric = ReferenceConsistency("bo")
    predictions, references = ["中"] * 5, ["བོད་ཡིག", "བོད་ Ellsworth", "", "བོད།", " "]
    metric.update(predictions, references)
    assert metric.compute() == pytest.approx(2 / 3)  # rows without a reference do not count
    first, second, none, *_ = metric.per_row(predictions, references)
    assert (first, second) == (1.0, 0.0) and math.isnan(none)
    score = metric.score(200)
    assert score.ci is None or score.ci[0] <= score.value <= score.ci[1]
    assert score.signature.startswith(LanguageConsistency("bo").signature + "|texts:references")


def test_without_references_there_is_no_ceiling() -> None:
    metric = ReferenceConsistency("bo")
    metric.update(["བོད"], [""])
    score = metric.score(10)
    assert math.isnan(score.value) and score.ci is None
