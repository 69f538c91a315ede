"""Tasks: how a row of a corpus becomes a prompt and the completion wanted for it."""

from __future__ import annotations

from collections.abc import Mapping

from semalign_pl.types import Example

_NAMES = {"zh": "中文", "bo": "藏文", "ug": "维吾尔文", "mn": "蒙古文", "en": "英文"}


def _name(language: str) -> str:
    """The language's Chinese name, or its code where we know none."""
    return _NAMES.get(language, language)


class Task:
    """A row's input field put into a template; its reference field is the wanted completion."""

    def __init__(
        self,
        input: str,
        reference: str,
        target_language: str,
        template: str,
        placeholder: str,
        source_only: bool = False,
    ) -> None:
        """Describes the task; the subclasses are what a recipe names.

        Args:
            input: The field that goes into the prompt.
            reference: The field that holds the wanted completion.
            target_language: The code of the language the completion is in.
            template: The user's message, with ``placeholder`` where the input goes.
            placeholder: Such as ``{source}``; all other braces are plain text.
            source_only: Training rows need no reference, and one that is there is not read.
        """
        if input == reference:
            raise ValueError(f"data.init_args.task: {input!r} is both what is read and what is wanted; name two fields")
        if placeholder not in template:
            raise ValueError(
                f"data.init_args.task.init_args.prompt: {template!r} has no {placeholder}; put it where the text goes"
            )
        self.fields = (input, reference)
        self.target_language = target_language
        self.template = template
        self.source_only = source_only
        self._placeholder = placeholder

    def wanted(self, part: str, columns: Mapping[str, str]) -> dict[str, str]:
        """The corpus' column of each field to read.

        Args:
            part: ``train``, ``validation`` or ``test``; only training can do without references.
            columns: What the user says of the corpus' columns.
        """
        wanted = {field: field for field in self.fields} | dict(columns)
        if self.source_only and part == "train":
            del wanted[self.fields[1]]
        return wanted

    def example(self, row: Mapping[str, str], id: str) -> Example:
        """The example of one row; all of the row's fields stay on it as ``columns``."""
        input, reference = self.fields
        return Example(
            id=id,
            prompt=self.template.replace(self._placeholder, row[input]),
            reference=row.get(reference, ""),
            columns=dict(row),
            source=row[input],
        )


class Translation(Task):
    """Translation between two languages whose codes are also the corpus' fields."""

    def __init__(
        self, source: str = "zh", target: str = "bo", prompt: str | None = None, source_only: bool = False
    ) -> None:
        """Describes one direction.

        Args:
            source: Code of the language to translate from, and the field that holds it.
            target: Code of the language to translate into, and the field that holds it.
            prompt: The user's message, with {source} where the text goes; by default, in Chinese, "translate the
                <source> below into <target>".
            source_only: Train on source text alone, for rewards that compare with the source (SG-SRL).
        """
        default = f"把下面的{_name(source)}翻译成{_name(target)}：{{source}}"
        super().__init__(source, target, target, default if prompt is None else prompt, "{source}", source_only)


class Headline(Task):
    """Writing the headline of an article."""

    def __init__(
        self,
        article: str = "article",
        headline: str = "headline",
        language: str = "bo",
        prompt: str | None = None,
        source_only: bool = False,
    ) -> None:
        """Describes the task.

        Args:
            article: The field that holds the article.
            headline: The field that holds its headline.
            language: Code of the language of the headline.
            prompt: The user's message, with {article} where the text goes; by default, in Chinese, "write a
                <language> headline for the article below".
            source_only: Train on articles alone, for rewards that compare with the article.
        """
        default = f"给下面的文章写一个{_name(language)}标题：{{article}}"
        template = default if prompt is None else prompt
        super().__init__(article, headline, language, template, "{article}", source_only)
