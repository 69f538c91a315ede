"""Anchor: divergence from the base on general text or conversations, beside any loss."""

from __future__ import annotations

import functools
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lightning.pytorch import Callback

from semalign_pl.engine.base_states import BaseStates
from semalign_pl.engine.micro_batches import Completions
from semalign_pl.engine.model import CausalPolicy
from semalign_pl.engine.targets import Target
from semalign_pl.engine.text_states import group_texts
from semalign_pl.files.digest import digest
from semalign_pl.functional.divergence import FullDivergence
from semalign_pl.modules.anchor_texts import encode, messages, read_anchor
from semalign_pl.modules.divergence_term import DivergenceTerm
from semalign_pl.probes.drift import DriftProbe


@dataclass(frozen=True)
class AnchorSettings:
    """Settings of the anchor: general text or conversations on which the policy is held to its base.

    Neither needs labels: the base's distribution is the target at every token, the user's turns included. Any language
    that the base knows and the run does not teach will do; it must not be text that a probe measures on.

    Attributes:
        file: File in UTF-8: text with one text per line, or ``.jsonl`` with a text or a conversation per line, see
            `read_anchor`.
        weight: Weight of the divergence, which is a mean per token in nats, in the loss.
        rows_per_step: Number of texts per batch, on all ranks together; all optimiser steps on a batch have the same.
        max_tokens: Maximum number of tokens per text; longer texts are cut.
        kind: Divergence: forward_kl, which is KL(base || policy); reverse_kl, which is KL(policy || base); or jsd.
    """

    file: str
    weight: float = 1.0
    rows_per_step: int = 16
    max_tokens: int = 256
    kind: FullDivergence = "forward_kl"

    def __post_init__(self) -> None:
        """Refuse numbers that leave nothing to compare.

        Raises:
            ValueError: Names the option and the remedy.
        """
        if not 0 <= self.weight < float("inf"):
            raise ValueError(f"model.init_args.anchor.weight: {self.weight} is not a weight; use e.g. 1.0")
        for name, least in (("rows_per_step", 1), ("max_tokens", 2)):
            value = getattr(self, name)
            if value < least:
                raise ValueError(f"model.init_args.anchor.{name}: {value} is too few; use at least {least}")


def rows_of_step(texts: int, rows: int, step: int, seed: int) -> list[int]:
    """Indices of the texts of one step.

    The texts are shuffled once, and cut into groups of ``rows``; the last group may be smaller. Each epoch has every
    group once, in an order of its own. So a text always comes with the same others, and never twice in an epoch.

    Args:
        texts: Number of texts.
        rows: Number of texts per step.
        step: Index of the step.
        seed: Seed of the shuffles.
    """
    groups = -(-texts // rows)
    epoch, place = divmod(step, groups)
    group = _shuffle(groups, f"{seed}/{epoch}")[place]
    return list(_shuffle(texts, f"{seed}/texts")[group * rows : (group + 1) * rows])


@functools.lru_cache(maxsize=4)
def _shuffle(count: int, seed: str) -> Sequence[int]:
    return random.Random(seed).sample(range(count), count)


class Anchor:
    """Texts of the anchor, and the term that they add to the loss of each step.

    Args:
        settings: Settings of the anchor.
        seed: Seed of the order of the texts.

    Attributes:
        weight: Weight of the term; a callback may set it between steps.

    Raises:
        ValueError: If the file cannot be read.
    """

    def __init__(self, settings: AnchorSettings, seed: int) -> None:
        self.settings, self.seed, self.weight = settings, seed, settings.weight
        self.texts = read_anchor("model.init_args.anchor.file", settings.file)
        self._rows = list(self.texts.values())
        self._states = BaseStates(max_bytes=2**30)  # 600,000 tokens of a base with 896 dimensions in bfloat16

    @property
    def content(self) -> str:
        """Digest of the texts, for checkpoints."""
        return digest(*map(str, self._rows), digits=12)

    def check_probes(self, callbacks: Iterable[Callback]) -> None:
        """Refuse text that a drift probe of the run measures on: it would measure what was trained.

        Args:
            callbacks: Callbacks of the run.

        Raises:
            ValueError: Names the first line that is in both files, and their number.
        """
        for probe in callbacks:
            if not isinstance(probe, DriftProbe):
                continue
            measured = {text.strip() for text in probe.texts}
            both = [place for place, text in self.texts.items() if measured.intersection(messages(text))]
            if both:
                raise ValueError(
                    f"model.init_args.anchor.file: {len(both)} lines of {self.settings.file} are also in "
                    f"DriftProbe.file ({probe.file}), the first is {both[0]}; the probe would measure text that was "
                    "trained on: remove them from one of the files"
                )

    def term(self, policy: CausalPolicy, step: int, rank: int, ranks: int, budget: int) -> DivergenceTerm:
        """Make the term of one step.

        The first token of a text or conversation is the prompt, the others are the completion.

        Args:
            policy: Policy of the run.
            step: Index of the step.
            rank: Index of this rank, which gets every ``ranks``-th text of the step.
            ranks: Number of ranks.
            budget: Maximum number of tokens per forward.
        """
        rows = rows_of_step(len(self._rows), self.settings.rows_per_step, step, self.seed)
        tokens = [encode(policy.encoder, self._rows[row])[: self.settings.max_tokens] for row in rows]
        own = [ids for ids in tokens[rank::ranks] if len(ids) > 1]
        targets: list[Target | None] = [None] * len(own)
        for group in group_texts(own, budget):
            for place, states in zip(group, self._states(policy, [own[place] for place in group]), strict=True):
                targets[place] = Target("base", self.settings.kind, states=states, logprobs=False)
        return DivergenceTerm(
            name="anchor_kl",
            completions=Completions([ids[:1] for ids in own], [ids[1:] for ids in own], targets=targets),
            denominator=max(1, sum(len(ids) - 1 for ids in tokens if ids)),
            weight=self.weight,
        )
