"""Proposal of a recipe to train, by what was measured."""

from __future__ import annotations

from semalign_pl.project.general import Kind

FEWEST, MOST = 300, 10_000
"""Numbers of training pairs between which recipes were compared: in the map, and with 5,000 pairs in the ladder."""
REAL = 18_000
"""Number of training pairs with which the recipes that hold the model were compared on a real one, by one seed."""
PAGE = "docs/results.md"
"""Page of the measurements."""


def advise(pairs: int, general: Kind) -> str:
    """Clause that proposes one of a project's recipes, with the reason.

    Args:
        pairs: Number of training pairs.
        general: Kind of general text; ``own`` if the user gave none.
    """
    if general == "own":
        recipe, most = "sft.yaml instead of step 3", MOST
        reason = (
            "in the miniature world GRPO lost no less at equal quality than SFT whose update is scaled down; with "
            "--general FILE, keep.yaml loses less than both"
        )
    else:
        recipe, most = "keep.yaml instead of steps 2 and 3", REAL
        reason = (
            "SFT that is held by replay and an anchor lost less at equal quality than SFT and GRPO without them, in "
            "the miniature world and on a real model, where GRPO after it (keep_grpo of study.yaml) gained more at "
            "no loss that the tests show"
        )
    if general == "texts":
        reason += "; with questions and their answers as --general it also keeps answering"
    if not FEWEST <= pairs <= most:
        reason += f"; this was measured with {FEWEST:,} to {most:,} pairs, and you have {pairs:,}"
    return f"train {recipe}, then scale it with semalign dial: {reason} ({PAGE})"
