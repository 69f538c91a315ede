"""Conversations as a task: the last assistant turn is the wanted completion, the turns before it are the prompt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from semalign_pl.data.reading.fields import Fault, is_blank, value_of
from semalign_pl.data.reading.formats import escape, top_column
from semalign_pl.data.reading.turns import (
    check_order,
    check_text,
    exchanges_of,
    format_turns,
    looks_like_turns,
    turns_from_json,
    turns_of,
    turns_to_json,
)  # fmt: skip
from semalign_pl.data.tasks import Task
from semalign_pl.types import Example, Role, Turn

PROMPT, TURNS, COMPLETION = "prompt", "turns", "completion"
"""Columns of a prepared conversation. `prompt` is the text of its turns without roles, so that rows are compared by
their text alone. `turns` is the turns with roles as JSON, present only if the prompt has more than one turn."""

_SHAPES = {
    "messages": ("messages",),
    "conversations": ("conversations",),
    "conversation": ("conversation",),
    "prompt": ("prompt", "completion"),
    "instruction": ("instruction", "input", "output", "history"),
}
"""Columns of each shape of conversation, by the shape's first column; if a row has several, the first is read."""
_EXTRA_COLUMNS = ("system", "tools")
_COLUMNS = tuple(column for shape in _SHAPES.values() for column in shape) + _EXTRA_COLUMNS
_REFERENCE_FIELDS = ("completion", "output")


def holds_turns(record: Mapping[str, object]) -> bool:
    """Return true if a record has a list of turns in a column with one of the usual names.

    Args:
        record: Record of the reader.
    """
    return any(isinstance(record.get(head), list) for head in ("messages", "conversations", "conversation"))


@dataclass(frozen=True)
class Chat:
    """Converter from a record with a conversation to a row of text fields.

    Attributes:
        prompts_only: True if the completion is not needed and not read.
    """

    prompts_only: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns of a row."""
        return (PROMPT, TURNS) if self.prompts_only else (PROMPT, TURNS, COMPLETION)

    def missing(self, record: Mapping[str, object], columns: Mapping[str, str]) -> str | None:
        """Message for a record that has the columns of no shape of conversation.

        Args:
            record: Record of the reader.
            columns: Name of the record's column for each field.

        Returns:
            The message; ``None`` if the record has such columns.
        """
        if any(head in columns and top_column(record, columns[head]) is not None for head in _SHAPES):
            return None
        wanted = " or ".join(repr(columns[head]) for head in _SHAPES if head in columns)
        guess = next((name for name, value in record.items() if isinstance(value, list)), "<its column>")
        return (
            f"no conversation: no column {wanted}; the columns are {escape(', '.join(record), 300)}; say which one "
            f"holds the turns, e.g. data.init_args.columns: {{messages: {escape(guess, 60)}}}"
        )

    def row(self, record: Mapping[str, object], columns: Mapping[str, str]) -> dict[str, str]:
        """Return prompt, turns and completion of a record.

        Args:
            record: Record of the reader.
            columns: Name of the record's column for each field; fields that are not of a conversation are ignored.

        Raises:
            Fault: If the record has no conversation, or one that cannot be trained on as it is.
        """
        if fault := self.missing(record, columns):
            raise Fault(fault)
        names = {field: columns[field] for field in _COLUMNS if field in columns and top_column(record, columns[field])}
        values = {field: value for field, name in names.items() if not is_blank(value := value_of(record, name))}
        if "tools" in values and values["tools"] != "[]":
            raise Fault(f"{names['tools']!r} describes tools, which the prompt would lack; drop the row")
        head = next((head for head in _SHAPES if head in values), None)
        if head is None:
            empty = " and ".join(repr(names[head]) for head in _SHAPES if head in names)
            raise Fault(f"{empty} {'are' if ' and ' in empty else 'is'} empty; fill it in or drop the row")
        if head == "prompt":
            turns = self._prompt(values, names)
        elif head == "instruction":
            turns = self._instruction(values, names)
        else:
            turns = turns_of(values[head], names[head])
        if "system" in values:
            if turns and turns[0].role == "system":
                raise Fault(f"{names['system']!r} is a second system text beside that of the turns; leave one out")
            turns = [Turn("system", check_text(values["system"], names["system"])), *turns]
        check_order(turns)
        return self._split(turns)

    def _prompt(self, values: Mapping[str, object], names: Mapping[str, str]) -> list[Turn]:
        """Turns of TRL's shape: prompt and completion, each a text or a list of turns."""
        turns = self._side(values["prompt"], names["prompt"], "user")
        if self.prompts_only or "completion" not in values:
            return turns
        answer = self._side(values["completion"], names["completion"], "assistant")
        if len(answer) != 1 or answer[0].role != "assistant":
            raise Fault(
                f"{names['completion']!r} is not one assistant turn but {', '.join(turn.role for turn in answer)}; "
                "move the turns before the last to the prompt, or drop the row"
            )
        return turns + answer

    @staticmethod
    def _side(value: object, name: str, role: Role) -> list[Turn]:
        if isinstance(value, str) and not looks_like_turns(value):
            return [Turn(role, check_text(value, name))]
        return turns_of(value, name)

    def _instruction(self, values: Mapping[str, object], names: Mapping[str, str]) -> list[Turn]:
        """Turns of Alpaca's shape: history, then the instruction with its input below it."""
        turns = exchanges_of(values["history"], names["history"]) if "history" in values else []
        texts = [check_text(values[field], names[field]) for field in ("instruction", "input") if field in values]
        turns.append(Turn("user", "\n".join(texts)))
        if not self.prompts_only and "output" in values:
            turns.append(Turn("assistant", check_text(values["output"], names["output"])))
        return turns

    def _split(self, turns: list[Turn]) -> dict[str, str]:
        """Row of the turns: the last assistant turn is the completion, the turns before it are the prompt."""
        last = turns[-1].role if turns else None
        if not any(turn.role == "assistant" for turn in turns) and not (self.prompts_only and last == "user"):
            raise Fault(
                "the conversation has no assistant turn, so nothing to train on; fill it in, drop the row, or train on "
                "prompts alone with data.init_args.task.init_args.source_only: true"
            )
        if last != "assistant" and not self.prompts_only:
            raise Fault(
                f"the conversation ends with a {last} turn, which nothing answers; take it out, fill in the answer, or "
                "drop the row"
            )
        prompt = turns[:-1] if last == "assistant" else turns
        row = {PROMPT: "\n\n".join(turn.content for turn in prompt)}
        if len(prompt) > 1:
            row[TURNS] = turns_to_json(prompt)
        if not self.prompts_only:
            row[COMPLETION] = turns[-1].content
        return row


class Conversation(Task):
    """Chat data: the last assistant turn is the wanted completion, all turns before it are the prompt.

    Each row is read from the first of these columns that it has:

    - ``messages``, ``conversations`` or ``conversation``: a list of turns with role and content, or from and value;
    - ``prompt`` with ``completion``: each a text or a list of turns;
    - ``instruction`` with ``output``, and with ``input`` and ``history`` if the row has them.

    A column ``system`` of the same row becomes the first turn. ``data.init_args.columns`` names other columns, such as
    ``{messages: chosen}``.

    Only the last turn is trained. The chat template gets all turns. Rewards and tables show a single user message as it
    is, and several turns as ``role: content`` with a blank line between them.
    """

    def __init__(self, language: str | None = None, source_only: bool = False) -> None:
        """Describe the task.

        Args:
            language: Code of the language of the completions, for its normal form and script; left out for any.
            source_only: True to train on the prompts alone, for rewards that need no reference.
        """
        self.fields: tuple[str, ...] = (PROMPT, COMPLETION)
        self.optional = frozenset(_COLUMNS)
        self.target_language = language or ""
        self.template = "{prompt}"
        self.source_only = source_only
        self.languages = {} if language is None else {COMPLETION: language}

    def chat(self, split: str) -> Chat:
        """Converter of the records of a split.

        Args:
            split: Split: ``train``, ``validation`` or ``test``.
        """
        return Chat(prompts_only=self.source_only and split == "train")

    def columns_to_read(self, split: str, columns: Mapping[str, str]) -> dict[str, str]:
        """Name of the corpus' column for each field to read.

        If the user names a column of a shape of conversation, only the shapes with named columns are read.

        Args:
            split: Split: ``train``, ``validation`` or ``test``.
            columns: Columns that the user names, by field.

        Raises:
            ValueError: If a field has the name of a column of prepared conversations.
        """
        if TURNS in columns:
            raise ValueError(f"data.init_args.columns: {TURNS!r} names no field; use messages for the column of turns")
        named = [head for head, shape in _SHAPES.items() if set(shape) & columns.keys()]
        fields = [field for head in named or _SHAPES for field in _SHAPES[head]] + list(_EXTRA_COLUMNS)
        columns = {field: field for field in fields} | dict(columns)
        if self.chat(split).prompts_only:
            return {field: column for field, column in columns.items() if field not in _REFERENCE_FIELDS}
        return columns

    def example(self, row: Mapping[str, str], id: str) -> Example:
        """Example of one prepared row.

        Args:
            row: Text of each field of the row.
            id: Id of the row.
        """
        turns = turns_from_json(row[TURNS]) if row.get(TURNS) else ()
        return Example(
            id=id,
            prompt=format_turns(turns) if turns else row[PROMPT],
            reference=row.get(COMPLETION, ""),
            columns={name: text for name, text in row.items() if name != TURNS},
            source=row[PROMPT],
            turns=turns,
        )
