"""Reward for text in the target language, by Unicode script rules."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import regex
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor

from semalign_pl.languages import get_language
from semalign_pl.rewards.calibration import training_examples
from semalign_pl.rewards.task_language import TaskLanguageReward, draw_evenly
from semalign_pl.types import Example

log = logging.getLogger(__name__)

TOLERATED = 0.05
"""Largest share of failing references without a warning."""

_LATIN = regex.compile(r"\p{Latin}")
_BROKEN = regex.compile(
    r"[\uFFFD\p{Co}\p{Cs}\p{Cn}[\p{Cc}--[\t\n\r]][\p{So}&&\p{Emoji}--[©®™]]\p{Emoji_Modifier}]", regex.V1
)
"""Characters that no language uses: undecodable and private-use characters, controls, emoji."""


class LanguageReward(TaskLanguageReward):
    """Score of 1 if the completion is in the target language by Unicode rules, else 0.

    The default rule is the paper's ``R_lang`` (arXiv 2605.14366): the text is *wholly* in the target language; see
    ``Language.is_consistent``. With ``source``, the rule is SG-SRL's gate (arXiv 2605.29502): the text is
    predominantly in the target's scripts, has no letter of the source language, and little Latin. The paper gives no
    thresholds; the defaults are our choice. They are shares of words and syllables, not of letters.

    Human references often fail the default rule, because of names in Latin letters. ``allow`` makes an exception for
    what occurs in the row itself: the rule is applied to the completion without the foreign words, digits and signs of
    these texts. At least half of all words must still be in the target language, so that a copy of the source earns
    nothing.

    Args:
        language: Code of the target language; in a mix, of the rows whose task names none. Other rows are scored by the
            rule of their task's language.
        weight: Factor in the total reward.
        gate: Flag to multiply the sum of the other rewards instead of adding to it.
        source: Code of the source language of the translation; selects the laxer rule.
        min_share: Minimum share of words in the target's scripts, under the laxer rule.
        max_latin: Maximum share of Latin words, under the laxer rule.
        allow: Texts of the row whose foreign words, digits and signs may occur: ``source``, ``reference``, or a
            column's name.
    """

    best = 1.0

    def __init__(
        self,
        language: str = "bo",
        weight: float = 1.0,
        gate: bool = False,
        source: str | None = None,
        min_share: float = 0.7,
        max_latin: float = 0.2,
        allow: list[str] | None = None,
    ) -> None:
        super().__init__(get_language(language), weight)
        for name, share in (("min_share", min_share), ("max_latin", max_latin)):
            if not 0 <= share <= 1:
                raise ValueError(f"LanguageReward.{name}: {share} is no share; give a number from 0 to 1")
        self.gate = gate
        self.source = None if source is None else get_language(source)
        self.min_share, self.max_latin, self.allow = min_share, max_latin, list(allow or ())

    @property
    def signature(self) -> str:
        """Every option that changes the score."""
        rule = (
            "" if self.source is None else f"|source:{self.source.code}|min:{self.min_share:g}|latin:{self.max_latin:g}"
        )
        allow = f"|allow:{'+'.join(self.allow)}" if self.allow else ""
        return f"{super().signature}|language:{self.language.code}|{self.language.rule_signature}{rule}{allow}"

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Warn if training references fail the rule: the reward would teach the policy to avoid what humans write.

        Raises:
            ValueError: If the completions of a rewarded corpus are in another language than its task says.
        """
        self.check_languages(training_examples(trainer))
        super().on_train_start(trainer, pl_module)
        if trainer.is_global_zero and (warning := self.check_references(training_examples(trainer))):
            log.warning(warning)

    def check_languages(self, examples: Sequence[Example]) -> None:
        """Refuse a mix with rewarded rows in another language: the reward would teach to answer them in this one.

        The language of a corpus is that of its task, or this reward's if the task names none. It is in another one if
        most of its references have no letter of this language. Answers in the source's language are refused, too.

        Args:
            examples: Training examples; about 1,000 of them, evenly spaced, are checked.

        Raises:
            ValueError: Names the corpus and the remedy.
        """
        drawn = draw_evenly(examples)
        for corpus in dict.fromkeys(example.corpus for example in drawn if example.corpus):
            rows = [example for example in drawn if example.corpus == corpus]
            texts = [example for example in rows if example.reference.strip()]
            foreign = sum(not self.task_languages.of(example).has_letter(example.reference) for example in texts)
            code = self.task_languages.of(rows[0]).code
            if 2 * foreign > len(texts):
                raise ValueError(
                    f"LanguageReward.language: {code}, but {corpus} in data.init_args.train has {foreign} of "
                    f"{len(texts)} references without its letters, so the reward would teach the wrong language there; "
                    "name its language in its task, set replay: true for it, or leave it out"
                )
            if self.source is not None and self.source.code == code:
                raise ValueError(
                    f"LanguageReward.source: {code} is the language that {corpus} in data.init_args.train is to be "
                    "answered in, where it would forbid each answer; leave source out, set replay: true for the "
                    "corpus, or leave it out"
                )

    def check_references(self, examples: Sequence[Example]) -> str | None:
        """Warning in one line if more than 5 % of the references fail, else ``None``.

        Args:
            examples: Training examples; about 1,000 of them, evenly spaced, are checked.
        """
        drawn = [example for example in draw_evenly(examples) if example.reference.strip()]
        texts = [example.reference for example in drawn]
        failing = [example for example, score in zip(drawn, self(drawn, texts).tolist(), strict=True) if not score]
        if len(failing) <= TOLERATED * len(texts):
            return None
        foreign = Counter(
            one
            for example in failing
            for one in example.reference
            if not self.task_languages.of(example).rule.characters.fullmatch(one)
        )
        common = " ".join(one if one.isprintable() else f"U+{ord(one):04X}" for one, _ in foreign.most_common(8))
        model = self.language.identification
        otherwise = f"{'' if model is None else f'not identified as {model.label}, '}padding, or marks without a letter"
        remedy = "clean these rows" if self.allow else "set `allow: [source, reference]` to let words of the row pass"
        return (
            f"LanguageReward: {len(failing) / len(texts):.0%} of {len(texts):,} training references fail its own rule "
            f"({f'commonest foreign characters: {common}' if common else otherwise}), so it "
            f"punishes what humans write; {remedy}, or check `language: {self.language.code}`"
        )

    def start_scoring(
        self, examples: Sequence[Example], completions: Sequence[str], completion_ids: Sequence[list[int]] | None = None
    ) -> Callable[[], Tensor]:
        """Start scoring; if ``allow`` names it, each example's source text is added as a column."""
        if "source" in self.allow:
            examples = [replace(e, columns={"source": e.source, **e.columns}) for e in examples]
        return super().start_scoring(examples, completions, completion_ids)

    def score(
        self, *, completions: list[str], references: list[str] | None = None, **columns: list[str]
    ) -> list[float]:
        """Score of 1 or 0 per completion.

        Raises:
            ValueError: If the corpus lacks a column that ``allow`` names.
        """
        texts = {**({} if references is None else {"reference": references}), **columns}
        if missing := next((name for name in self.allow if name not in texts), None):
            raise ValueError(
                f"LanguageReward.allow: no column of the corpus is called {missing!r}; take source or one of "
                f"{', '.join(name for name in texts if name != 'prompts')} (in a mix, each corpus needs it)"
            )
        allowed = list(zip(*(texts[name] for name in self.allow), strict=True)) or [()] * len(completions)
        return [float(self._passes(text, others)) for text, others in zip(completions, allowed, strict=True)]

    def _passes(self, text: str, others: tuple[str, ...]) -> bool:
        if self._obeys(text):
            return True
        if not any(others):
            return False
        own, foreign = self.language.count_units(text)
        return own >= len(foreign) and self._obeys(self.language.without(text, others))

    def _obeys(self, text: str) -> bool:
        if self.source is None:
            return self.language.is_consistent(text)
        own, foreign = self.language.count_units(text)
        words, latin = own + len(foreign), sum(_LATIN.search(word) is not None for word in foreign)
        return (
            own > 0  # text without letters earns nothing
            and own >= self.min_share * words
            and latin <= self.max_latin * words
            and not self.source.has_letter(text)
            and _BROKEN.search(text) is None
            and self.language.rule.is_well_formed(text)
            and not self.language.is_legacy(text)
            and self.language.is_identified(text)
        )
