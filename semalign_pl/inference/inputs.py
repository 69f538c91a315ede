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
from semalign_pl.data.reading.fields import Fault, fault_of
from semalign_pl.data.reading.formats import BadRow, quote
from semalign_pl.data.reading.formats.encodings import is_unicode_text
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
            ValueError: If the prompt of the task has several fields, or the text is blank in normal form.
        """
        return self._task.example(self._prepare({self._field(): text}), id)

    def read(self, source: str) -> Iterator[Example]:
        """Read texts, one per line of a .txt file or stdin, or the rows of any other corpus.

        Args:
            source: Corpus, as in ``data.init_args.test``, or ``-`` for stdin, which can be read once.

        Yields:
            Examples. Their ids name file and line, or row.

        Raises:
            ValueError: If the corpus or one of its rows cannot be read; names line, field and remedy.
        """
        lines = is_lines(source)
        if lines and self.columns:
            raise ValueError(
                f"--columns: {source} has one text per line, and no columns; leave it out, or give a table as .tsv"
            )
        try:
            yield from self._read_lines(source) if lines else self._read_table(source)
        except ValueError as error:
            # The remedy of a recipe is a key of its YAML; that of this command is a flag.
            flag = re.sub(r"data\.init_args\.columns: \{(\w+): ([^}]*)\}", r"--columns \1=\2", str(error))
            raise ValueError(flag) from error

    def _read_lines(self, source: str) -> Iterator[Example]:
        """Yield examples of the lines that are not blank, neither as they are nor in normal form."""
        field, first, empty = self._field(), True, True
        for id, row in _read_stdin(field) if source == STDIN else stream(source, {field: field}, "test"):
            if isinstance(row, BadRow):
                raise ValueError(row.message)
            if first and "\t" in row[field]:
                remedy = "give it as --file FILE.tsv" if source == STDIN else "rename its .txt to .tsv"
                raise ValueError(
                    f"{id}: a tab in the first text, {quote(row[field])}: this is a table, not one text per line; "
                    f"{remedy}, or replace the tab by a space"
                )
            first = False
            try:
                row = self._prepare(row)
            except Fault:
                continue
            empty = False
            yield self._task.example(row, id)
        if empty:
            name = "stdin" if source == STDIN else source
            raise ValueError(f"{name}: there is no text in it; give one text per line")

    def _read_table(self, source: str) -> Iterator[Example]:
        """Yield examples of the rows of a corpus with columns."""
        task = self._task
        for id, row in stream(source, self._columns(), "test", optional=task.optional, chat=task.chat("train")):
            if isinstance(row, BadRow):
                raise ValueError(row.message)
            try:
                row = self._prepare(row)
            except Fault as fault:
                raise ValueError(f"{id}: {fault}, or drop the row") from fault
            yield task.example(row, id)

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

    def _prepare(self, row: Mapping[str, str]) -> Mapping[str, str]:
        """Row in the normal form of the recipe, as a test's rows are.

        Raises:
            Fault: If a field is blank in normal form, so that the model would invent its answer.
        """
        task, prepare = self._task, self.recipe.data.prepare
        if prepare is None:
            return row
        languages = {field: code for field, code in task.languages.items() if field in row}
        normal = Cleaner.of(prepare, languages).normal(row)
        for field in languages:
            if field not in task.optional and not normal[field].strip():
                raise Fault(f"{field} is blank in normal form: {quote(row[field])}; fill it in")
        return normal


def is_lines(source: str) -> bool:
    """Return true if a source has one text per line: stdin, or a single .txt file, compressed or not.

    A .txt file that `stream` reads as a table, Excel's "Unicode Text", has columns.

    Args:
        source: Corpus, or ``-`` for stdin.
    """
    if source == STDIN:
        return True
    path = Path(source)
    is_text = stem_suffix(path) == ".txt" and not {*source} & {*"{*?"}
    return is_text and not (path.is_file() and is_unicode_text(path))


def _read_stdin(field: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield id and row of each line of stdin that is not blank.

    Args:
        field: Name of the field of a row.

    Raises:
        ValueError: If stdin is not UTF-8, or a line is one that a file may not have either.
    """
    try:
        text = sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"stdin: byte {error.start} is not UTF-8; give text in UTF-8") from error
    for number, line in enumerate(text.split("\n"), 1):
        line = line.removesuffix("\r")
        if not line.strip():
            continue
        if "\r" in line:
            raise ValueError(
                f"stdin:{number}: a CR inside the line: {quote(line)}; end lines in LF, e.g. tr '\\r' '\\n'"
            )
        if fault := fault_of(line):
            raise ValueError(f"stdin:{number}: the text is {fault}")
        yield f"stdin:{number}", {field: line}
