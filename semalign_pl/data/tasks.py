"""Tasks: how a row of a corpus becomes a prompt and the completion wanted for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from semalign_pl.data import prompts
from semalign_pl.types import Example

if TYPE_CHECKING:
    from semalign_pl.data.conversation import Chat


class Task:
    """A row's input field put into a template; its reference field is the wanted completion.

    Attributes:
        fields: What a row must have, by the tasks' own names.
        optional: Which of them may be empty or missing.
        target_language: The language the completion is in: a code, or whatever else `get_language` takes.
        template: The user's message, before a row fills it.
        source_only: Training rows need no reference, and one that is there is not read.
        languages: The language of each field that has one, for its normal form and script in preparation.
        parallel: The two fields say the same, so that their lengths can be compared.
    """

    optional: frozenset[str] = frozenset()
    parallel = False

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
        self.fields: tuple[str, ...] = (input, reference)
        self.target_language = target_language
        self.template = template
        self.source_only = source_only
        self.languages = {reference: target_language}
        self._placeholder = placeholder
        self._answer: tuple[str, ...] = (reference,)

    def wanted(self, part: str, columns: Mapping[str, str]) -> dict[str, str]:
        """The corpus' column of each field to read.

        Args:
            part: ``train``, ``validation`` or ``test``; only training can do without references.
            columns: What the user says of the corpus' columns.
        """
        wanted = {field: field for field in self.fields} | dict(columns)
        if self.source_only and part == "train":
            for field in self._answer:
                del wanted[field]
        return wanted

    def chat(self, part: str) -> Chat | None:
        """Converter of records that hold a conversation to text; ``None`` where fields are columns of text.

        Args:
            part: ``train``, ``validation`` or ``test``.
        """
        return None

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
    """Translation between two languages whose codes are also the corpus' fields.

    Both ways at once is a mix of two corpora: the same file with a task each, ``source`` and ``target`` exchanged.
    """

    parallel = True

    def __init__(
        self,
        source: str = "zh",
        target: str = "bo",
        prompt: str | None = None,
        source_only: bool = False,
        prompt_language: str = "zh",
    ) -> None:
        """Describes one direction.

        Args:
            source: Code of the language to translate from, and the field that holds it. A profile of your own is named
                by its .yaml file; the field is then the profile's code.
            target: The same of the language to translate into.
            prompt: The user's message, with {source} where the text goes; by default "translate the <source> below into
                <target>" in the language of prompt_language.
            source_only: Train on source text alone, for rewards that compare with the source (SG-SRL).
            prompt_language: Language of the default prompt: zh, en, bo or th.
        """
        if prompt is None:
            prompt = prompts.wording("Translation", prompt_language, {"from": source, "to": target})
        super().__init__(prompts.code(source), prompts.code(target), target, prompt, "{source}", source_only)
        self.languages[prompts.code(source)] = source


class Headline(Task):
    """Writing the headline of an article."""

    def __init__(
        self,
        article: str = "article",
        headline: str = "headline",
        language: str = "bo",
        prompt: str | None = None,
        source_only: bool = False,
        prompt_language: str = "zh",
    ) -> None:
        """Describes the task.

        Args:
            article: The field that holds the article.
            headline: The field that holds its headline.
            language: Code of the language of the headline.
            prompt: The user's message, with {article} where the text goes; by default "write a <language> headline for
                the article below" in the language of prompt_language.
            source_only: Train on articles alone, for rewards that compare with the article.
            prompt_language: Language of the default prompt: zh, en, bo or th.
        """
        if prompt is None:
            prompt = prompts.wording("Headline", prompt_language, {"language": language})
        super().__init__(article, headline, language, prompt, "{article}", source_only)
        self.languages[article] = language


class Summarisation(Task):
    """Summing up an article."""

    def __init__(
        self,
        article: str = "article",
        summary: str = "summary",
        language: str = "bo",
        prompt: str | None = None,
        source_only: bool = False,
        prompt_language: str = "zh",
    ) -> None:
        """Describes the task.

        Args:
            article: The field that holds the article.
            summary: The field that holds its summary.
            language: Code of the language of the summary.
            prompt: The user's message, with {article} where the text goes; by default "write a <language> summary of
                the article below" in the language of prompt_language.
            source_only: Train on articles alone, for rewards that compare with the article.
            prompt_language: Language of the default prompt: zh, en, bo or th.
        """
        if prompt is None:
            prompt = prompts.wording("Summarisation", prompt_language, {"language": language})
        super().__init__(article, summary, language, prompt, "{article}", source_only)
        self.languages[article] = language


class Instruction(Task):
    """Anything asked in words over any number of fields: instructions, questions about a text, multiple choice.

    The example's ``source`` is the text of the prompt's fields, one below the other, without the template's words.
    """

    def __init__(
        self,
        prompt: str = "{instruction}\n{input}",
        completion: str = "{output}",
        optional: Sequence[str] = (),
        language: str = "bo",
        source_only: bool = False,
    ) -> None:
        """Describes the task.

        Args:
            prompt: The user's message; every {field} is read from the corpus, {{ and }} are braces.
            completion: The wanted completion, written the same way.
            optional: Fields of the prompt that may be empty or missing; a line whose fields are all empty is left out.
            language: Code of the language of the completion.
            source_only: Train on the prompt's fields alone, for rewards that need no reference.
        """
        asked, said = prompts.fields(prompt, "prompt"), prompts.fields(completion, "completion")
        where = "data.init_args.task.init_args.optional"
        for field in optional:
            if field not in asked:
                raise ValueError(f"{where}: {field!r} is no field of the prompt, which has {', '.join(asked)}")
            if field in said:
                raise ValueError(
                    f"{where}: {field!r} is part of the completion, which every row must have; leave it out"
                )
        if set(asked) <= set(optional):
            raise ValueError(f"{where}: all fields of the prompt may be empty, so nothing may be asked; leave one out")
        self.fields = tuple(dict.fromkeys((*asked, *said)))
        self.optional = frozenset(optional)
        self.target_language = language
        self.template, self.completion = prompt, completion
        self.source_only = source_only
        self.languages = dict.fromkeys(said, language)
        self._asked, self._said = asked, said
        self._answer = tuple(field for field in said if field not in asked)

    def example(self, row: Mapping[str, str], id: str) -> Example:
        """The example of one row; an optional field that the row lacks is an empty column."""
        row = dict.fromkeys(self.optional, "") | dict(row)
        return Example(
            id=id,
            prompt=prompts.fill(self.template, row),
            reference=prompts.fill(self.completion, row) if all(field in row for field in self._said) else "",
            columns=row,
            source="\n".join(row[field] for field in self._asked if row[field].strip()),
        )
