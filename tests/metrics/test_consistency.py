"""The share of texts in the language."""

from importlib.metadata import version

from semalign_pl.metrics import LanguageConsistency


def test_share() -> None:
    metric = LanguageConsistency("bo")
    predictions = ["བོད་ཡིག", "བོད་中", "", "བོད་\ufffd", "བོད་། ༡༢"]
    assert metric.per_row(predictions, [""] * 5) == [1.0, 0.0, 0.0, 0.0, 1.0]
    metric.update(predictions, [""] * 5)
    assert metric.compute() == 0.4
    signature = f"consistency:script_extensions|scripts:Tibetan|lang:bo|regex:{version('regex')}"
    assert metric.signature == signature
