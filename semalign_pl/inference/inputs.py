"""A user's texts as examples of a recipe's task, without references."""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from semalign_pl.data.cleaning.preparation import Cleaner
from semalign_pl.data.conversation import PROMPT
from semalign_pl.data.reading.formats import BadRow
from semalign_pl.data.reading.formats.record import stem_suffix
from semalign_pl.data.reading.sources import stream
from semalign_pl.data.tasks import Task
from semalign_pl.inference.loaded_run import RecipeTask
from semalign_pl.types import Example

STDIN = "-"
Recipe = TypeVar("Recipe", bound=RecipeTask)


@dataclass(frozen=True)
class Inputs(Generic[Recipe]):
    """Converter of texts and of rows of a corpus to prompts, as in a test of the run.

    Attributes:
        recipe: Data module and task of the recipe.
        columns: Name of the corpus' column for each field; the recipe's for the fields that it leaves out.
    """

    recipe: Recipe
    columns: Mapping[str, str] | None = None

    def example(self, text: str, id: str) -> Example:
        """Example of one text.

        Args:
            text: Text that the prompt is about.
            id: Id of the example.

        Raises:
            ValueError: If the prompt of the task has several fields.
        """
        field = self._field()
        return self._example({field: text}, id)

    def read(self, source: str) -> Iterator[Example]:
        """Read texts, one per line of a .txt file or stdin, or the rows of any other corpus.

        Args:
            source: Corpus, as in ``data.init_args.test``, or ``-`` for stdin, which can be read once.

        Yields:
            Examples. Their ids name file and line, or row.

        Raises:
            ValueError: If the corpus or one of its rows cannot be read; names line, field and remedy.
        """
        if is_lines(source) and self.columns:
            raise ValueError(f"--columns: {source} has one text per line, and no columns; leave the flag out")
        if source == STDIN:
            yield from (self.example(text, id) for id, text in _read_stdin())
            return
        lines = is_lines(source)
        columns = {self._field(): self._field()} if lines else self._columns()
        optional, chat = ((), None) if lines else (self._task.optional, self._task.chat("train"))
        rows = stream(source, columns, "test", optional=optional, chat=chat)
        try:
            for id, row in rows:
                if isinstance(row, BadRow):
                    raise ValueError(row.message)
                yield self._example(row, id)
        except ValueError as error:
            # The remedy of a recipe is a key of its YAML; that of this command is a flag.
            flag = re.sub(r"data\.init_args\.columns: \{(\w+): ([^}]*)\}", r"--columns \1=\2", str(error))
            raise ValueError(flag) from error

    @property
    def _task(self) -> Task:
        """Task of the recipe, without references."""
        task = copy.copy(self.recipe.task)
        task.source_only = True
        return task

    def _columns(self) -> dict[str, str]:
        task, given = self._task, {**self.recipe.columns, **(self.columns or {})}
        known = task.columns_to_read("train", {})
        if unknown := sorted((self.columns or {}).keys() - known.keys()):
            raise ValueError(f"--columns: {unknown[0]!r} is no field of the prompt, which has {', '.join(known)}")
        # Columns of a recipe that no prompt needs are there for the rewards.
        return task.columns_to_read("train", {field: column for field, column in given.items() if field in known})

    def _field(self) -> str:
        """The field that a prompt must have; for a conversation, its first message.

        Raises:
            ValueError: If there are several.
        """
        if self._task.chat("train") is not None:
            return PROMPT
        fields = [field for field in self._columns() if field not in self._task.optional]
        if len(fields) != 1:
            raise ValueError(
                f"a prompt of this task has {len(fields)} fields ({', '.join(fields)}), so a text alone is not enough; "
                "give a .jsonl file with these columns to semalign translate --file"
            )
        return fields[0]

    def _example(self, row: Mapping[str, str], id: str) -> Example:
        task, prepare = self._task, self.recipe.data.prepare
        if prepare is not None:  # as a test's rows are
            languages = {field: code for field, code in task.languages.items() if field in row}
            row = Cleaner.of(prepare, languages).normal(row)
        return task.example(row, id)


def is_lines(source: str) -> bool:
    """Return true if a source has one text per line: stdin, or a single .txt file, compressed or not.

    Args:
        source: Corpus, or ``-`` for stdin.
    """
    return source == STDIN or (stem_suffix(Path(source)) == ".txt" and not {*source} & {*"{*?"})


def _read_stdin() -> Iterator[tuple[str, str]]:
    """Yield id and text of each line of stdin that is not blank.

    Raises:
        ValueError: If stdin is not UTF-8, or has no text.
    """
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"stdin: byte {error.start} is not UTF-8; give text in UTF-8") from error
    if not text.strip():
        raise ValueError("stdin: there is no text in it; give one text per line")
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield f"stdin:{number}", line.removesuffix("\r")
