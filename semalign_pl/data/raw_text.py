"""Raw text as a task: next-token prediction, without a prompt and without the chat template."""

from __future__ import annotations

from collections.abc import Mapping

from semalign_pl.data.tasks import Task
from semalign_pl.types import Example


class RawText(Task):
    """Raw text for next-token prediction: continued pretraining, or replay of general text beside other tasks.

    Each row is a document. Documents are joined by the tokenizer's EOS token (and BOS, if the tokenizer adds one), and
    the stream of tokens is cut into rows of ``max_new_tokens``, so no token is padding and none is left out. Rows begin
    and end anywhere in a document, and a token attends to all earlier tokens of its row, also of other documents. The
    chat template is not used; a control token written in the text stays plain text.

    A packed row has its first token as prompt and the rest as completion. This first token is the last one of the row
    before, so every token but the first of the corpus is predicted once. SFT trains on the rows as on any other, and
    logs ``val/loss`` and ``val/bits_per_byte`` of a validation corpus. The rows are not completed, so no other score
    counts them. GRPO accepts raw text only as a replayed corpus. ``limit``, ``eval_limit`` and ``skip`` count packed
    rows.
    """

    def __init__(self, text: str = "text", language: str | None = None) -> None:
        """Describe the task.

        Args:
            text: Name of the field with the document.
            language: Code of the language of the text, for its normal form and script in preparation; left out for any.
        """
        self.fields: tuple[str, ...] = (text,)
        self.target_language = language or ""
        self.template = ""
        self.source_only = False
        self.languages = {} if language is None else {text: language}
        self._reference_fields: tuple[str, ...] = ()

    def example(self, row: Mapping[str, str], id: str) -> Example:
        """Example of one document that is not packed yet.

        Args:
            row: Text of each field of the row.
            id: Id of the row.
        """
        (text,) = self.fields
        return Example(id=id, prompt="", reference=row[text], columns=dict(row), text_bytes=len(row[text].encode()))
