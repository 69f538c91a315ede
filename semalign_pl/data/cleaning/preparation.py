"""Settings for preparing a corpus, and the row filter that decides from one row alone, as a pure function."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from semalign_pl.languages import Language, get_language
from semalign_pl.languages.read import language_codes

Reason = Literal[
    "bad_row", "empty", "encoding", "script", "length_ratio", "duplicate", "near_duplicate", "leak", "answer_too_long",
    "prompt_too_long", "too_many_tokens", "too_few_tokens",
]  # fmt: skip


@dataclass(frozen=True)
class Preparation:
    """Settings for cleaning training rows. Evaluation rows are only converted to normal form.

    A text in a legacy encoding that its language detects (Zawgyi, in Burmese) is never converted to normal form. A
    training row with such a text is dropped. A corpus is refused if a field is mostly in a legacy encoding.

    Attributes:
        normalise: Flag to convert each field to its language's normal form (Unicode and, in Tibetan, tsheg and shad).
        script: Minimum share of a field's words in its language's script, 0 to 1. Words are the language's units
            (syllables, characters or words) and foreign words. A field without letters, such as 1905, passes. Null for
            no filter.
        length_ratio: Maximum factor between a translation's ratio of characters and the corpus' median ratio (of its
            first 10,000 rows), in both directions; null for no filter.
        min_tokens: Minimum number of tokens of a field, by the model's tokenizer; null for no minimum.
        max_tokens: Maximum number of tokens of a field, by the model's tokenizer; null for no maximum.
        duplicates: Flag to drop rows that equal an earlier row up to case, spaces and punctuation.
        near_duplicates: Minimum similarity to an earlier row's letters (1 - edits / length) at which a row is dropped,
            such as 0.9; null for no filter. Takes some 500 bytes of memory per row.
        decontaminate: Flag to drop rows that repeat, or nearly repeat, a row of the validation or test corpus.
        against: Further files that training rows must not repeat, such as a probe's; every text in them counts.
    """

    normalise: bool = True
    script: float | None = 0.5
    length_ratio: float | None = 4.0
    min_tokens: int | None = None
    max_tokens: int | None = None
    duplicates: bool = True
    near_duplicates: float | None = None
    decontaminate: bool = True
    against: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: If a number is out of range.
        """
        for name, low, high in (
            ("script", 0, 1),
            ("length_ratio", 1, math.inf),
            ("near_duplicates", 0.5, 1),
            ("min_tokens", 1, math.inf),
            ("max_tokens", 1, math.inf),
        ):
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                span = f"{low} or more" if high == math.inf else f"{low} to {high}"
                raise ValueError(f"data.init_args.prepare.{name} is {value}; give {span}, or null to leave it out")


class Drop(NamedTuple):
    """Reason for dropping a row.

    Attributes:
        reason: Name of the reason, by which dropped rows are counted.
        detail: Measure or message, for the list of dropped rows.
    """

    reason: Reason
    detail: str


@dataclass(frozen=True)
class Cleaner:
    """Normal form and filters of one corpus' rows, each decided from one row alone.

    Attributes:
        settings: Settings of the user.
        languages: Language of each field that has one.
        pair: Names of two fields with the same content in two languages; ``None`` if there are none.
        ratio: Median ratio of their numbers of characters in the corpus, second to first; ``None`` for no filter.
    """

    settings: Preparation
    languages: Mapping[str, Language]
    pair: tuple[str, str] | None = None
    ratio: float | None = None

    @classmethod
    def of(cls, settings: Preparation, languages: Mapping[str, str], pair: tuple[str, str] | None = None) -> Cleaner:
        """Cleaner for a task's fields, without a median ratio yet.

        Args:
            settings: Settings of the user.
            languages: Code of the language of each field that has one.
            pair: Names of two fields with the same content in two languages.
        """
        return cls(settings, {name: get_language(code) for name, code in languages.items()}, pair)

    def measure_ratio(self, rows: Iterable[Mapping[str, str]]) -> Cleaner:
        """Copy of this cleaner with the median length ratio of some rows.

        Args:
            rows: Rows in normal form.
        """
        if self.pair is None or self.settings.length_ratio is None:
            return self
        one, two = self.pair
        ratios = [len(row[two]) / len(row[one]) for row in rows if row.get(one) and row.get(two)]
        return Cleaner(self.settings, self.languages, self.pair, statistics.median(ratios) if ratios else None)

    def check_encoding(self, rows: Sequence[Mapping[str, str]], source: str) -> None:
        """Refuse a corpus that is not in Unicode.

        Args:
            rows: First rows of the corpus.
            source: Name of the corpus, for the message.

        Raises:
            ValueError: If more than half of a field's texts are in a legacy encoding; the message names the converter.
        """
        for name, language in self.languages.items():
            texts = [row[name] for row in rows if row.get(name)]
            if (legacy := language.legacy) and 2 * (found := sum(map(legacy.is_used, texts))) > len(texts):
                raise ValueError(f"{source}: {name}: {found:,} of {len(texts):,} texts are {legacy.remedy}")

    def normal(self, row: Mapping[str, str]) -> dict[str, str]:
        """Convert a row to normal form, if the settings ask for it.

        Args:
            row: Text of each field.
        """
        if not self.settings.normalise:
            return dict(row)
        return {
            name: self.languages[name].normalise(text) if name in self.languages else text for name, text in row.items()
        }

    def forms(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Forms that a row of a corpus has if it repeats texts: as they are, and in each language's normal form.

        Args:
            texts: Texts in any form, such as those of a held-out file, whose languages are not known.
        """
        languages = {one.code: one for one in self.languages.values() if self.settings.normalise}
        return [tuple(texts), *(tuple(map(one.normalise, texts)) for one in languages.values())]

    def drop_reason(self, row: Mapping[str, str]) -> Drop | None:
        """Apply the filters to a row.

        Args:
            row: Text of each field, in normal form.

        Returns:
            Reason if the row is dropped; ``None`` if it is kept.
        """
        for name, language in self.languages.items():
            if name not in row:
                continue
            if not row[name].strip():
                return Drop("empty", f"{name} is empty in normal form")
            if language.legacy and language.legacy.is_used(row[name]):
                return Drop("encoding", f"{name} is {language.legacy.remedy}")
            if self.settings.script is not None:
                own, foreign = language.count_units(row[name])
                if own < self.settings.script * (own + len(foreign)):
                    share = own / (own + len(foreign))
                    hint = _other_script(language, row[name], self.settings.script)
                    return Drop("script", f"{share:.2f} of the words of {name} are {language.name}{hint}")
        if self.settings.length_ratio and (times := self.times_median(row)) is not None:
            assert self.pair is not None, "only a pair of fields has a ratio"
            if not 1 / self.settings.length_ratio <= times <= self.settings.length_ratio:
                return Drop("length_ratio", f"{self.pair[1]} to {self.pair[0]} is {times:.2f} times the median")
        return None

    def times_median(self, row: Mapping[str, str]) -> float | None:
        """Length ratio of a row's pair of texts, as a multiple of the corpus' median ratio.

        Args:
            row: Text of each field, in normal form.

        Returns:
            Factor, above 1 if the second text is longer than usual; ``None`` if the row has no pair, or there is no
            median.
        """
        if not self.pair or not self.ratio or not all(name in row for name in self.pair):
            return None
        one, two = self.pair
        return len(row[two]) / max(1, len(row[one])) / self.ratio


def _other_script(language: Language, text: str, least: float) -> str:
    """End of a message that names the code of the same language in the script of ``text``; empty if there is none."""
    name = language.code.split("-")[0]
    others = (code for code in language_codes() if code != language.code and code.split("-")[0] == name)
    code = next((code for code in others if get_language(code).share(text) >= least), None)
    return f"; in this script the code is {code}" if code else ""
