"""Tasks: conversion of a corpus row to a prompt and its wanted completion."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from semalign_pl.data import prompts
from semalign_pl.languages.read import language_codes
from semalign_pl.types import Example, Turn

if TYPE_CHECKING:
    from semalign_pl.data.conversation import Chat


class Task:
    """Task that puts a row's input field into a template; the row's reference field is the wanted completion.

    Attributes:
        fields: Names of the fields of a row.
        optional: Names of fields that may be empty or missing.
        target_language: Language of the completion: a code, or a .yaml file (see `get_language`).
        template: Template of the user's message.
        source_only: True if training rows need no reference; references in the corpus are then not read for training.
        languages: Language of each field that has one, for its normal form and script in preparation.
        parallel: True if the two fields have the same content, so that their lengths can be compared.
        system: System text of every prompt; ``None`` to leave it to the chat template.
    """

    system: str | None = None
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
        system: str | None = None,
    ) -> None:
        """Describe the task. A recipe names one of the subclasses.

        Args:
            input: Name of the field that goes into the prompt.
            reference: Name of the field with the wanted completion.
            target_language: Code of the language of the completion.
            template: Template of the user's message, with ``placeholder`` in place of the input.
            placeholder: Placeholder such as ``{source}``; all other braces are plain text.
            source_only: True if training rows need no reference; references are then not read for training.
            system: System text of every prompt; ``None`` to leave it to the chat template.

        Raises:
            ValueError: If input and reference are the same field, or the template lacks the placeholder.
        """
        if input == reference:
            raise ValueError(f"data.init_args.task: {input!r} is both input and reference; name two fields")
        if placeholder not in template:
            raise ValueError(
                f"data.init_args.task.init_args.prompt: {template!r} has no {placeholder}; put it where the text goes"
            )
        self.fields: tuple[str, ...] = (input, reference)
        self.target_language = target_language
        self.template = template
        self.source_only = source_only
        self.system = system
        self.languages = {reference: target_language}
        self._placeholder = placeholder
        self._reference_fields: tuple[str, ...] = (reference,)

    def columns_to_read(self, split: str, columns: Mapping[str, str]) -> dict[str, str]:
        """Name of the corpus' column for each field to read.

        Args:
            split: Split: ``train``, ``validation`` or ``test``; only training can do without references.
            columns: Columns that the user names, by field.
        """
        columns = {field: field for field in self.fields} | dict(columns)
        if self.source_only and split == "train":
            return {field: column for field, column in columns.items() if field not in self._reference_fields}
        return columns

    def chat(self, split: str) -> Chat | None:
        """Converter of records that hold a conversation; ``None`` if each field is a column of text.

        Args:
            split: Split: ``train``, ``validation`` or ``test``.
        """
        return None

    def example(self, row: Mapping[str, str], id: str) -> Example:
        """Example of one row, with all of the row's fields as ``columns``.

        Args:
            row: Text of each field of the row.
            id: Id of the row.
        """
        input, reference = self.fields
        prompt = self.template.replace(self._placeholder, row[input])
        return Example(
            id=id,
            prompt=prompt,
            reference=row.get(reference, ""),
            columns=dict(row),
            source=row[input],
            turns=self._turns(prompt),
        )

    def _turns(self, prompt: str) -> tuple[Turn, ...]:
        """Turns of a prompt with a system text; none without one."""
        return () if self.system is None else (Turn("system", self.system), Turn("user", prompt))


class Translation(Task):
    """Translation between two languages; their codes are also the names of the fields.

    To train both directions, list the file twice, each with its own task, and exchange ``source`` and ``target``.
    """

    parallel = True

    def __init__(
        self,
        source: str = "zh",
        target: str = "bo",
        prompt: str | None = None,
        source_only: bool = False,
        prompt_language: str = "zh",
        system: str | None = None,
    ) -> None:
        """Describe one direction.

        Args:
            source: Code of the language to translate from, and name of its field. Name a language of your own by its
                .yaml file; the field is then its code.
            target: Code of the language to translate into, and name of its field, given as for source.
            prompt: User's message, with {source} in place of the text; by default "translate the <source> below into
                <target>" in the language of prompt_language.
            source_only: True to train on source text alone, for rewards that compare with the source (SG-SRL).
            prompt_language: Language of the default prompt: zh, en, bo or th.
            system: System text of every prompt; empty for none, null for the one that the chat template writes itself.
        """
        if prompt is None:
            prompt = prompts.wording("Translation", prompt_language, {"from": source, "to": target})
        super().__init__(prompts.code(source), prompts.code(target), target, prompt, "{source}", source_only, system)
        self.languages[prompts.code(source)] = source


class Headline(Task):
    """Headline generation: write the headline of an article."""

    def __init__(
        self,
        article: str = "article",
        headline: str = "headline",
        language: str = "bo",
        prompt: str | None = None,
        source_only: bool = False,
        prompt_language: str = "zh",
        system: str | None = None,
    ) -> None:
        """Describe the task.

        Args:
            article: Name of the field with the article. It is in the same language, unless its name is a language code.
            headline: Name of the field with its headline.
            language: Code of the language of the headline.
            prompt: User's message, with {article} in place of the text; by default "write a <language> headline for
                the article below" in the language of prompt_language.
            source_only: True to train on articles alone, for rewards that compare with the article.
            prompt_language: Language of the default prompt: zh, en, bo or th.
            system: System text of every prompt; empty for none, null for the one that the chat template writes itself.
        """
        if prompt is None:
            prompt = prompts.wording("Headline", prompt_language, {"language": language})
        super().__init__(article, headline, language, prompt, "{article}", source_only, system)
        self.languages[article] = article if article in language_codes() else language


class Summarisation(Task):
    """Summarisation: write the summary of an article."""

    def __init__(
        self,
        article: str = "article",
        summary: str = "summary",
        language: str = "bo",
        prompt: str | None = None,
        source_only: bool = False,
        prompt_language: str = "zh",
        system: str | None = None,
    ) -> None:
        """Describe the task.

        Args:
            article: Name of the field with the article. It is in the same language, unless its name is a language code.
            summary: Name of the field with its summary.
            language: Code of the language of the summary.
            prompt: User's message, with {article} in place of the text; by default "write a <language> summary of
                the article below" in the language of prompt_language.
            source_only: True to train on articles alone, for rewards that compare with the article.
            prompt_language: Language of the default prompt: zh, en, bo or th.
            system: System text of every prompt; empty for none, null for the one that the chat template writes itself.
        """
        if prompt is None:
            prompt = prompts.wording("Summarisation", prompt_language, {"language": language})
        super().__init__(article, summary, language, prompt, "{article}", source_only, system)
        self.languages[article] = article if article in language_codes() else language


class Instruction(Task):
    """Task with a prompt template over any number of fields: instructions, questions about a text, multiple choice.

    The example's ``source`` is the text of the prompt's fields without the template, one field per line.
    """

    def __init__(
        self,
        prompt: str = "{instruction}\n{input}",
        completion: str = "{output}",
        optional: Sequence[str] = (),
        language: str | None = "bo",
        source_only: bool = False,
        system: str | None = None,
    ) -> None:
        """Describe the task.

        Args:
            prompt: Template of the user's message; every {field} is read from the corpus, {{ and }} are braces.
            completion: Template of the wanted completion, with the same syntax.
            optional: Fields of the prompt that may be empty or missing; a line whose fields are all empty is left out.
            language: Code of the language of the completion; null for any, or for several in one completion.
            source_only: True to train on the prompt's fields alone, for rewards that need no reference.
            system: System text of every prompt; empty for none, null for the one that the chat template writes itself.

        Raises:
            ValueError: If a template has no field or a single brace, or ``optional`` names a field that is not in the
                prompt, a field of the completion, or all fields of the prompt.
        """
        task = "data.init_args.task.init_args"
        prompt_fields = prompts.fields(prompt, f"{task}.prompt")
        completion_fields = prompts.fields(completion, f"{task}.completion")
        where = f"{task}.optional"
        for field in optional:
            if field not in prompt_fields:
                raise ValueError(f"{where}: {field!r} is no field of the prompt, which has {', '.join(prompt_fields)}")
            if field in completion_fields:
                raise ValueError(
                    f"{where}: {field!r} is part of the completion, which every row must have; leave it out"
                )
        if set(prompt_fields) <= set(optional):
            raise ValueError(f"{where}: all fields of the prompt may be empty, so nothing may be asked; leave one out")
        self.fields = tuple(dict.fromkeys((*prompt_fields, *completion_fields)))
        self.optional = frozenset(optional)
        self.target_language = language or ""
        self.template, self.completion = prompt, completion
        self.source_only = source_only
        self.system = system
        self.languages = {} if language is None else dict.fromkeys(completion_fields, language)
        self._prompt_fields, self._completion_fields = prompt_fields, completion_fields
        self._reference_fields = tuple(field for field in completion_fields if field not in prompt_fields)

    def example(self, row: Mapping[str, str], id: str) -> Example:
        """Example of one row; an optional field that the row lacks becomes an empty column.

        Args:
            row: Text of each field of the row.
            id: Id of the row.
        """
        row = dict.fromkeys(self.optional, "") | dict(row)
        prompt = prompts.fill(self.template, row)
        return Example(
            id=id,
            prompt=prompt,
            reference=prompts.fill(self.completion, row) if row.keys() >= {*self._completion_fields} else "",
            columns=row,
            source="\n".join(row[field] for field in self._prompt_fields if row[field].strip()),
            turns=self._turns(prompt),
        )
