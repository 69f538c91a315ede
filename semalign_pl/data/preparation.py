"""What is done to a corpus before training, as settings; and the verdict on one row, as a pure function."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from semalign_pl.languages import LanguageProfile, get_language
from semalign_pl.languages.read import known

Reason = Literal[
    "bad_row", "empty", "encoding", "script", "length_ratio", "duplicate", "near_duplicate", "leak", "answer_too_long",
    "prompt_too_long", "too_many_tokens", "too_few_tokens",
]  # fmt: skip


@dataclass(frozen=True)
class Preparation:
    """How training rows are cleaned; evaluation rows are brought into normal form, and otherwise left as they are.

    A text in a legacy encoding that a language knows of (Zawgyi, in Burmese) is never brought into normal form: such a
    training row is dropped, and a corpus with a field that is mostly in one is refused.

    Attributes:
        normalise: Bring each field into its language's normal form (Unicode and, in Tibetan, tsheg and shad).
        script: Least share of a field's words that must be in its language's script, words being its units (syllables,
            characters or words) and foreign words; null for any. A field without letters, such as 1905, passes.
        length_ratio: Drop a translation whose ratio of characters is so many times larger or smaller than the corpus'
            median (of its first 10,000 rows); null for any.
        min_tokens: Fewest tokens of a field, by the model's tokenizer; null for any.
        max_tokens: Most tokens of a field; null for any.
        duplicates: Drop rows that say the same as an earlier one but for case, spaces and punctuation.
        near_duplicates: Drop rows whose letters are at least so similar to an earlier row's (1 - edits / length), such
            as 0.9; null for none. Takes some 500 bytes of memory a row.
        decontaminate: Drop rows that repeat, or nearly repeat, a row of the validation or test corpus.
        against: More files that training must not have seen, such as a probe's; every text in them counts.
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
        """Checks the numbers."""
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


@dataclass(frozen=True)
class Cleaner:
    """Normal form and filters of one corpus' rows, as far as one row alone decides.

    Attributes:
        settings: What the user wants.
        languages: The language of each field that has one.
        pair: Two fields that say the same.
        ratio: The corpus' median ratio of their characters, second to first; ``None`` where it does not matter.
    """

    settings: Preparation
    languages: Mapping[str, LanguageProfile]
    pair: tuple[str, str] | None = None
    ratio: float | None = None

    @classmethod
    def of(cls, settings: Preparation, languages: Mapping[str, str], pair: tuple[str, str] | None = None) -> Cleaner:
        """For a task's fields.

        Args:
            settings: What the user wants.
            languages: The language code of each field that has one.
            pair: Two fields that say the same.
        """
        return cls(settings, {name: get_language(code) for name, code in languages.items()}, pair)

    def measured(self, rows: Iterable[Mapping[str, str]]) -> Cleaner:
        """The same with the median ratio of these rows."""
        if self.pair is None or self.settings.length_ratio is None:
            return self
        one, two = self.pair
        ratios = [len(row[two]) / len(row[one]) for row in rows if row.get(one) and row.get(two)]
        return Cleaner(self.settings, self.languages, self.pair, statistics.median(ratios) if ratios else None)

    def check_encoding(self, rows: Sequence[Mapping[str, str]], source: str) -> None:
        """Refuse a corpus that is not in Unicode.

        Args:
            rows: Its first rows.
            source: Name of the corpus, for the message.

        Raises:
            ValueError: If more than half of a field's texts are in a legacy encoding; names the converter.
        """
        for name, profile in self.languages.items():
            texts = [row[name] for row in rows if row.get(name)]
            if (legacy := profile.legacy) and 2 * (found := sum(map(legacy.is_used, texts))) > len(texts):
                raise ValueError(f"{source}: {name}: {found:,} of {len(texts):,} texts are {legacy.remedy}")

    def normal(self, row: Mapping[str, str]) -> dict[str, str]:
        """The row in normal form."""
        if not self.settings.normalise:
            return dict(row)
        return {
            name: self.languages[name].normalise(text) if name in self.languages else text for name, text in row.items()
        }

    def verdict(self, row: Mapping[str, str]) -> tuple[Reason, str] | None:
        """Why a row in normal form is dropped, and by what measure; ``None`` if it is kept."""
        for name, profile in self.languages.items():
            if name not in row:
                continue
            if not row[name].strip():
                return "empty", f"{name} is empty in normal form"
            if profile.legacy and profile.legacy.is_used(row[name]):
                return "encoding", f"{name} is {profile.legacy.remedy}"
            if self.settings.script is not None:
                own, foreign = profile.count_units(row[name])
                if own < self.settings.script * (own + len(foreign)):
                    share = own / (own + len(foreign))
                    hint = _other_script(profile, row[name], self.settings.script)
                    return "script", f"{share:.2f} of the words of {name} are {profile.name}{hint}"
        if self.pair and self.ratio and self.settings.length_ratio and all(name in row for name in self.pair):
            times = len(row[self.pair[1]]) / max(1, len(row[self.pair[0]])) / self.ratio
            if not 1 / self.settings.length_ratio <= times <= self.settings.length_ratio:
                return "length_ratio", f"{self.pair[1]} to {self.pair[0]} is {times:.2f} times the median"
        return None


def _other_script(profile: LanguageProfile, text: str, least: float) -> str:
    """The code of the same language in the script of ``text``, as the end of a message; empty if there is none."""
    language = profile.code.split("-")[0]
    others = (code for code in known() if code != profile.code and code.split("-")[0] == language)
    code = next((code for code in others if get_language(code).share(text) >= least), None)
    return f"; in this script the code is {code}" if code else ""
