"""Verdict on a recipe's total reward, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from semalign_pl.audit.compare import AUC, against_damage, against_spoilers
from semalign_pl.audit.groups import LEVELS, Slot
from semalign_pl.audit.scores import Scores
from semalign_pl.audit.spoilers import SPOILERS

WORDS = {
    "copied_source": "copying the source",
    "other_language": "writing half of the text in another language",
    "shuffled_words": "shuffled words",
    "repeated": "repetition",
    "longer": "adding text that the source does not have",
    "shorter": "stopping early",
    "dropped_clause": "leaving out a clause",
    "wrong_number": "a wrong number",
}


@dataclass(frozen=True)
class Verdict:
    """Verdict on the total reward.

    Attributes:
        refused: True if a policy should not be trained on it.
        reasons: Sentences that say why it is refused.
        warnings: Faults that the total reward does not notice, and faults that only one reward keeps from paying.
    """

    refused: bool
    reasons: list[str]
    warnings: list[str]

    def __str__(self) -> str:
        """Verdict as one paragraph."""
        if self.refused:
            return f"do not train on this reward: {'; '.join(self.reasons)}"
        return "no objection to this reward: better drafts earn more, and no spoiler pays"


def worst(results: Mapping[Slot, AUC], spoiler: str) -> tuple[float, AUC]:
    """Share of damaged words at which a spoiler does best against its draft, and its AUC there.

    Args:
        results: Result of ``against_spoilers``.
        spoiler: Name of the spoiler.
    """
    by_level = {level: results[spoiler, level] for level in LEVELS if results[spoiler, level].pairs}
    level = min(by_level, key=lambda level: by_level[level].value, default=LEVELS[0])
    return level, results[spoiler, level]


def judge_total(scores: Scores) -> Verdict:
    """Decide whether the total reward is refused.

    It is refused if it pays for a spoiler at any share of damaged words (the whole interval of the AUC is below 0.5: a
    policy whose drafts are of that quality is pushed towards the spoiler), or if it is not shown to prefer better
    drafts (the interval reaches 0.5). It is not refused for a fault that it does not notice, nor for what a single
    reward does alone: the policy is trained on the total.

    Args:
        scores: Rewards of all texts.
    """
    total = scores.total()
    results, damage = against_spoilers(total), against_damage(total)
    reasons, warnings = [], []
    if not damage.sees:
        reasons.append(
            f"it is not shown to prefer drafts with fewer wrong words: AUC {_figures(damage)}, and 0.5 is chance"
        )
    for spoiler in SPOILERS:
        level, found = worst(results, spoiler)
        if found.pays:
            reasons.append(f"it pays for {WORDS[spoiler]}: more than for {_drafts(level, found)}")
        elif found.pairs and not found.sees:
            warnings.append(f"it does not notice {WORDS[spoiler]}: AUC {_figures(found)} against {_name(level)}")
    return Verdict(bool(reasons), reasons, [*warnings, *_single_safeguards(scores, results)])


def _single_safeguards(scores: Scores, results: Mapping[Slot, AUC]) -> list[str]:
    """Spoilers that would pay if one reward were left out."""
    notes = []
    for index, reward in enumerate(scores.rewards):
        if all(other.gate for at, other in enumerate(scores.rewards) if at != index):
            continue  # nothing would be left to train on
        without = against_spoilers(scores.total(without=index))
        held = [name for name in SPOILERS if worst(without, name)[1].pays and not worst(results, name)[1].pays]
        if held:
            what = ", ".join(WORDS[name] for name in held)
            notes.append(
                f"only the reward {reward.name!r} keeps it from paying for {what}: keep its weight, or its gate"
            )
    return notes


def _drafts(level: float, found: AUC) -> str:
    share = f"{1 - found.value:.0%} of {found.pairs} prompts"
    return f"{_name(level)} in {share} (AUC {_figures(found)})"


def _name(level: float) -> str:
    return f"drafts with {level:.0%} of their words wrong or missing" if level else "the references"


def _figures(found: AUC) -> str:
    return f"{found.value:.2f}, interval {found.low:.2f} to {found.high:.2f}"
