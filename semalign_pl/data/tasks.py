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

    def __init__(self, input: str, reference: str, target_language: str, template: str, placeholder: str) -> None:
        """Describes the task; the subclasses are what a recipe names.

        Args:
            input: The field that goes into the prompt.
            reference: The field that holds the wanted completion.
            target_language: The code of the language the completion is in.
            template: The user's message, with ``placeholder`` where the input goes.
            placeholder: Such as ``{source}``; all other braces are plain text.
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
        self._placeholder = placeholder

    def example(self, row: Mapping[str, str], id: str) -> Example:
        """The example of one row; all of the row's fields stay on it as ``columns``."""
        input, reference = self.fields
        return Example(
            id=id,
            prompt=self.template.replace(self._placeholder, row[input]),
            reference=row[reference],
            columns=dict(row),
        )


class Translation(Task):
    """Translation between two languages whose codes are also the corpus' fields."""

    def __init__(self, source: str = "zh", target: str = "bo", prompt: str | None = None) -> None:
        """Describes one direction.

        Args:
            source: Code of the language to translate from, and the field that holds it.
            target: Code of the language to translate into, and the field that holds it.
            prompt: The user's message, with {source} where the text goes; by default, in Chinese, "translate the
                <source> below into <target>".
        """
        default = f"把下面的{_name(source)}翻译成{_name(target)}：{{source}}"
        super().__init__(source, target, target, default if prompt is None else prompt, "{source}")


class Headline(Task):
    """Writing the headline of an article."""

    def __init__(
        self, article: str = "article", headline: str = "headline", language: str = "bo", prompt: str | None = None
    ) -> None:
        """Describes the task.

        Args:
            article: The field that holds the article.
            headline: The field that holds its headline.
            language: Code of the language of the headline.
            prompt: The user's message, with {article} where the text goes; by default, in Chinese, "write a
                <language> headline for the article below".
        """
        default = f"给下面的文章写一个{_name(language)}标题：{{article}}"
        super().__init__(article, headline, language, default if prompt is None else prompt, "{article}")
