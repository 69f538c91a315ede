"""Languages of rows: that of the row's task, in a mix whose tasks name one, else a default."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from semalign_pl.languages import get_language
from semalign_pl.languages.language import Language
from semalign_pl.types import Example


def check_language(name: str, language: Language, target: str) -> None:
    """Refuse a setting ``language`` by which answers in another script would be scored.

    A language with a script in common passes: it may have rules of its own, such as an identification.

    Args:
        name: Name of the class with the setting.
        language: Language of the setting.
        target: Language of the task, a code or a .yaml file; empty if it names none.

    Raises:
        ValueError: If the languages have no script in common.
    """
    wanted = language
    with contextlib.suppress(ValueError):  # a language without rules, which the setting must replace
        wanted = get_language(target) if target else language
    if set(wanted.scripts).isdisjoint(language.scripts):
        raise ValueError(
            f"{name}.language: {language.code}, but the task answers in {target}; set language: {target}, or correct "
            "the task"
        )


class TaskLanguages:
    """Languages by which the rows of a mix are scored.

    Attributes:
        default: Language of rows whose task names none.
        known: Languages so far by their code; the default has the empty one, too.
    """

    def __init__(self, default: Language) -> None:
        """Start with the default alone."""
        self.default = default
        self.known = {"": default, default.code: default}
        self._files: dict[str, Language] = {}

    def of(self, example: Example) -> Language:
        """Language of a row.

        Args:
            example: Row; its ``language`` is that of its task.

        Raises:
            ValueError: If the task's language has no rules; names the corpus.
        """
        found = self.known.get(example.language) or self._files.get(example.language)
        if found is None:
            try:
                found = get_language(example.language)
            except ValueError as error:
                raise ValueError(f"{example.corpus or example.id}: {error}") from error
            found = self._files[example.language] = self.known.setdefault(found.code, found)
        return found

    def others(self, examples: Iterable[Example]) -> dict[str, Language]:
        """Languages of rows other than the default, by the name of the corpus, in order.

        Args:
            examples: Rows of a mix.

        Raises:
            ValueError: As in `of`.
        """
        found = {example.corpus or example.id: self.of(example) for example in examples}
        return {corpus: language for corpus, language in found.items() if language is not self.default}
