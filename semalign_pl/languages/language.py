"""A language: its script, its normal form and its unit of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import regex

from semalign_pl.languages.corpus_identification import CorpusIdentification
from semalign_pl.languages.identification import Identification
from semalign_pl.languages.legacy import Legacy
from semalign_pl.languages.normal import NormalForm, compile_rules, pattern
from semalign_pl.languages.rule import Rule, compile_rule, is_unit

_SIGN = regex.compile(r"[\p{N}\p{P}\p{S}\p{Cf}--\uFFFD]", regex.V1)
_IDEOGRAPHIC = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Hangul}\p{Yi}"
_UNSPACED = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without spaces between words: each four letters count as one word (each letter of an ideographic script)."""


@dataclass(frozen=True)
class Language:
    """One language, as data. ``languages.yaml`` has the shipped ones and explains each key.

    Attributes:
        code: Name in configs: ISO 639-1, with the script if the language has two.
        name: English name, for prompts and reports.
        native: Name in the language itself, for prompts.
        scripts: Values of the Unicode property ``Script`` that letters and marks may have.
        unit: Kind of unit that ``segment`` returns (``syllable``, ``character``, ``word``); signatures name it.
        pattern: Regex (version 1, verbose) of one unit.
        chinese: Chinese name, for prompts in Chinese.
        letters: Regex set of the letters and marks in use, if not all of the scripts'.
        allowed: Members of a regex set: characters allowed besides the scripts' and the neutral ones.
        keeps: Members of a regex set: invisible characters that have a meaning in this language.
        compatibility: Regex set of characters that are replaced by their compatibility decomposition.
        replacements: Patterns and replacements of the normal form.
        order: Patterns of signs, in the order in which a run of them is written.
        source: Source of these facts.
        legacy: Another encoding with the same code points, or ``None``.
        identification: Model that must also recognise the language, or ``None``.
    """

    code: str
    name: str
    native: str
    scripts: tuple[str, ...]
    unit: str
    pattern: str
    chinese: str = ""
    letters: str = ""
    allowed: str = ""
    keeps: str = ""
    compatibility: str = ""
    replacements: tuple[tuple[str, str], ...] = ()
    order: tuple[str, ...] = ()
    source: str = ""
    legacy: Legacy | None = None
    identification: Identification | CorpusIdentification | None = None

    def is_consistent(self, text: str) -> bool:
        """Return true if ``text`` is wholly in this language by Unicode rules: the paper's ``R_lang``.

        True if letters of the language predominate, every character is the language's or a neutral one, and every mark
        has a base; ``rule.py`` has the full rule. So there is no letter or mark of another script or outside the
        alphabet, no U+FFFD, no emoji, no private use and no control character except tab and line breaks, and no
        padding by digits or punctuation. The characters used with a script are those of Unicode's
        ``Script_Extensions``. Text in a legacy encoding (Zawgyi) fails. NFC and NFD give the same result.

        With ``identification``, its model must recognise the language as well.

        Source: arXiv 2605.14366, "Reward"; Unicode Standard Annex 24, in the installed version of ``regex``.
        """
        return self.rule(text) and not self.is_legacy(text) and self.is_identified(text)

    def is_identified(self, text: str) -> bool:
        """Return true if the model of ``identification`` recognises the language, or there is none."""
        return self.identification is None or self.identification.accepts(text)

    @property
    def rule_signature(self) -> str:
        """Version of the rule of ``is_consistent``, and model of the identification if there is one."""
        return "rule:2" if self.identification is None else f"rule:2|{self.identification.signature}"

    def foreign_characters(self, text: str) -> list[str]:
        """Characters of ``text`` for which it is not wholly in this language, in order and as often as they occur.

        Empty for a text that fails ``is_consistent`` for another reason, such as padding or marks without a base.
        """
        return list(self.rule.find_foreign(unicodedata.normalize("NFC", text)))

    def share(self, text: str) -> float:
        """Share of the language among the units of ``text`` that have letters, in [0, 1]; 0 without letters.

        Units instead of letters, because Han writes a word in one or two signs and a Latin name in ten. See
        ``count_units``.
        """
        if not self.has_letter(text) and not self.has_letter(unicodedata.normalize("NFC", text)):
            return 0.0  # without a look at the units, which takes twenty times as long
        own, foreign = self.count_units(text)
        return own / (own + len(foreign)) if own else 0.0

    def count_units(self, text: str) -> tuple[int, list[str]]:
        """Count the units of ``text`` with a letter of the language, and list the foreign words.

        Units are those of ``segment``. A foreign word is a run of letters and marks of other scripts or outside the
        alphabet; each ideograph is a word, and in scripts without spaces each four letters are. ``km`` after a number
        is neither: it is the same in every language.
        """
        if not self._foreign_letter.search(text):  # nearly all text; for a share of 1, one unit is enough
            return (1 if self.has_letter(text) else 0), []
        text = unicodedata.normalize("NFC", text)
        foreign = [word[0] for word in self._foreign_word.finditer(text) if not is_unit(text, *word.span())]
        return sum(map(self.has_letter, self.segment(text))), foreign

    def has_letter(self, text: str) -> bool:
        """Return true if a letter of the language occurs in ``text``."""
        return self.rule.letter.search(text) is not None

    def without(self, text: str, others: Iterable[str]) -> str:
        """Remove the foreign words, digits and signs from ``text`` that also occur in one of the other texts.

        A foreign word is a whole run of letters, marks and digits, compared in NFC and case-folded: ``IBM`` in another
        text does not remove ``IB`` or ``IBMs``. In scripts without spaces a run ends at a sign, so one character of a
        longer run is not a word. U+FFFD, control and private use characters are never removed.

        Args:
            text: Text in any spelling.
            others: Texts such as the source and the reference.
        """
        given = [unicodedata.normalize("NFC", other) for other in others]
        runs = {run.casefold() for other in given for run in self._foreign_run.findall(other)}
        signs = {sign for other in given for sign in _SIGN.findall(other)}
        text = self._foreign_run.sub(
            lambda run: " " if run[0].casefold() in runs else run[0], unicodedata.normalize("NFC", text)
        )
        return _SIGN.sub(
            lambda sign: "" if sign[0] in signs and not self.rule.characters.fullmatch(sign[0]) else sign[0], text
        )

    def segment(self, text: str) -> list[str]:
        """Segment ``text`` into units; white space and separators are dropped, punctuation is a unit.

        ``text`` is brought into NFC first, but not into the normal form: metrics apply to the text as written.
        """
        return self._unit.findall(unicodedata.normalize("NFC", text))

    def normalise(self, text: str) -> str:
        r"""Normal form of ``text``, in which corpora are prepared; idempotent.

        NFC, the language's replacements and order of signs; control and invisible characters removed, line ends as
        ``\n``, other white space as single spaces. Nothing visible is removed: characters of another script and U+FFFD
        stay, for ``is_consistent`` to find. Text in a legacy encoding is returned unchanged.
        """
        return text if self.is_legacy(text) else self._normal(text)

    def is_legacy(self, text: str) -> bool:
        """Return true if ``text`` is in a legacy encoding of the language's script, such as Zawgyi."""
        return self.legacy is not None and self.legacy.is_used(text)

    @cached_property
    def _unit(self) -> regex.Pattern[str]:
        return pattern(self.pattern)

    @cached_property
    def _normal(self) -> NormalForm:
        return compile_rules(self.code, self.keeps, self.compatibility, self.replacements, self.order)

    @cached_property
    def rule(self) -> Rule:
        """Rule of ``is_consistent``."""
        return compile_rule(self.scripts, self.letters, self.allowed + self.keeps)

    @cached_property
    def _foreign_letter(self) -> regex.Pattern[str]:
        return regex.compile(rf"[\p{{L}}--{self.rule.letter.pattern}]", regex.V1)

    @cached_property
    def _foreign_word(self) -> regex.Pattern[str]:
        return regex.compile(
            rf"[{self._foreign_letter.pattern}&&[{_IDEOGRAPHIC}]]"
            rf"|(?:[{self._foreign_letter.pattern}&&[{_UNSPACED}]]\p{{M}}*+){{1,4}}+|{self._spaced_word}",
            regex.V1,
        )

    @cached_property
    def _foreign_run(self) -> regex.Pattern[str]:
        return regex.compile(rf"[{self._foreign_letter.pattern}&&[{_IDEOGRAPHIC}]]++|{self._spaced_word}", regex.V1)

    @property
    def _spaced_word(self) -> str:
        first = rf"[{self._foreign_letter.pattern}--[{_IDEOGRAPHIC}]]"
        rest = rf"[{first}\p{{M}}\p{{Nd}}]*+"
        return rf"{first}{rest}(?:['’]{first}{rest})*+"
