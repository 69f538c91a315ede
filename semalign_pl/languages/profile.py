"""What the project knows of one language: its script, its spelling and its unit of text."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import regex

from semalign_pl.languages.legacy import Legacy
from semalign_pl.languages.normal import NormalForm, compile_rules, pattern
from semalign_pl.languages.rule import Rule, compile_rule, is_unit

_SIGN = regex.compile(r"[\p{N}\p{P}\p{S}\p{Cf}--\uFFFD]", regex.V1)
_IDEOGRAPHIC = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\p{Hangul}\p{Yi}"
_UNSPACED = r"\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
"""Scripts without spaces between words: up to four letters count as a word, and of ideographic ones each letter."""


@dataclass(frozen=True)
class LanguageProfile:
    """One language, as data; ``profiles.yaml`` holds those that are known, and says what each key means.

    Attributes:
        code: The name a config uses: ISO 639-1, with the script where a language has two.
        name: The English name, for prompts and reports.
        native: The language's own name, for prompts.
        scripts: Values of the Unicode property ``Script`` that letters and marks may have.
        unit: What ``segment`` cuts text into (``syllable``, ``character``, ``word``); metric signatures name it.
        pattern: Regex (version 1, verbose) of one unit.
        chinese: The Chinese name, for prompts in Chinese.
        letters: Regex set of the letters and marks used, where that is less than all of the scripts'.
        allowed: Members of a regex set, allowed beside the scripts' characters and the neutral ones.
        keeps: Members of a regex set: characters without ink that mean something here.
        compatibility: Regex set of characters that are replaced by their compatibility decomposition.
        replacements: Patterns and replacements that give text its one spelling.
        order: Patterns of signs, in the order in which a run of them is written.
        source: Where the facts are from.
        legacy: Another encoding of the same code points, if there is one.
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

    def is_consistent(self, text: str) -> bool:
        """Return whether ``text`` is wholly in this language by Unicode rules: the paper's ``R_lang``.

        True if letters of the language predominate, every character is the language's or a neutral one, and every mark
        has a base; ``rule.py`` has the rule in full. So no letter or mark of another script or outside the alphabet, no
        U+FFFD, no emoji, no private use and no control character except tab and line breaks; no padding by digits or
        punctuation. Which characters are used with a script is Unicode's property ``Script_Extensions``. Text in a
        legacy encoding (Zawgyi) fails. NFC and NFD have the same verdict.

        Source: method.md, "Reward"; Unicode Standard Annex 24, as shipped with the installed ``regex``.
        """
        return self.rule(text) and not self.is_legacy(text)

    def share(self, text: str) -> float:
        """Share of the units with letters in ``text`` that are of the language, in [0, 1]; 0 where there is no letter.

        Units, not letters: Han writes a word in one or two signs, a Latin name in ten. See ``count_units``.
        """
        own, foreign = self.count_units(text)
        return own / (own + len(foreign)) if own else 0.0

    def count_units(self, text: str) -> tuple[int, list[str]]:
        """Count the units of ``text`` with a letter of the language, and list the foreign words.

        A unit is what ``segment`` cuts. A foreign word is a run of letters and marks of other scripts or outside the
        alphabet; each ideograph, and of scripts without spaces each four letters, is a word. ``km`` after a number is
        neither: it is the same in every language.
        """
        if not self._foreign_letter.search(text):  # nearly all text; who asks for a share needs no more than one
            return (1 if self.has_letter(text) else 0), []
        text = unicodedata.normalize("NFC", text)
        foreign = [word[0] for word in self._foreign_word.finditer(text) if not is_unit(text, *word.span())]
        return sum(map(self.has_letter, self.segment(text))), foreign

    def has_letter(self, text: str) -> bool:
        """Return whether a letter of the language occurs in ``text``."""
        return self.rule.letter.search(text) is not None

    def without(self, text: str, others: Iterable[str]) -> str:
        """``text`` without the foreign words, digits and signs that one of the other texts has.

        A foreign word is a whole run of letters, marks and digits, compared in NFC and case-folded: ``IBM`` in another
        text does not excuse ``IB`` or ``IBMs``. In scripts without spaces a run goes from one sign to the next, so a
        character of a longer one is none. U+FFFD, control and private use characters always stay.

        Args:
            text: In any spelling.
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
        """Cut ``text`` into units; white space and separators between units are dropped, punctuation is a unit.

        Only Unicode NFC comes first, not ``normalise``: scores are of what was written.
        """
        return self._unit.findall(unicodedata.normalize("NFC", text))

    def normalise(self, text: str) -> str:
        r"""The one spelling of ``text`` that corpora are prepared in; what it returns it leaves alone.

        NFC, the language's replacements and order of signs; control and invisible characters dropped, line ends as
        ``\n``, other white space as single spaces. Nothing that can be seen is dropped: what is of another script, or
        U+FFFD, stays for ``is_consistent`` to find. Text in a legacy encoding is returned as it is.
        """
        return text if self.is_legacy(text) else self._normal(text)

    def is_legacy(self, text: str) -> bool:
        """Return whether ``text`` is in a legacy encoding of the language's script, such as Zawgyi."""
        return self.legacy is not None and self.legacy.is_used(text)

    @cached_property
    def _unit(self) -> regex.Pattern[str]:
        return pattern(self.pattern)

    @cached_property
    def _normal(self) -> NormalForm:
        return compile_rules(self.code, self.keeps, self.compatibility, self.replacements, self.order)

    @cached_property
    def rule(self) -> Rule:
        """The rule that ``is_consistent`` applies."""
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
