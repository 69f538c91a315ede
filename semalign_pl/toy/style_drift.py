"""Drift from the base model on Tibetan of another style, beside the drift on Chinese."""

from __future__ import annotations

from dataclasses import replace

from semalign_pl.policy.policy import Policy
from semalign_pl.probes.drift import DriftProbe
from semalign_pl.types import Item, Measurement

SCORES = ("nll_change_mean", "kl_mean")


class StyleDrift(DriftProbe):
    """``DriftProbe`` whose scores are ``styles_nll_change_mean`` and ``styles_kl_mean``, so that both can be used.

    With correct translations in styles that the references do not have, it measures what training took from the other
    wordings. The arguments are those of ``DriftProbe``.
    """

    def measure(self, policy: Policy) -> Measurement:
        """Compare policy and base on every text."""
        drift = super().measure(policy)
        scores = {f"styles_{name}": replace(drift.scores[name], items="styles") for name in SCORES}
        items = [
            Item("styles", item.id, {f"styles_{name}": item.statistics[name] for name in SCORES})
            for item in drift.items
        ]
        return Measurement(scores, items)
