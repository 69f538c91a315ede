"""Limits on the length of texts in tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TooLong = Literal["cut_prompt", "drop", "error"]


@dataclass(frozen=True)
class Limits:
    """Limits on the length of texts in tokens, and the treatment of longer ones.

    Attributes:
        prompt: Maximum number of tokens of a prompt, with the chat template.
        completion: Maximum number of tokens of a reference, with the end-of-turn token.
        too_long: Treatment of longer texts: ``cut_prompt``, ``drop`` or ``error``.
        trains_references: True if references are trained on; else ``cut_prompt`` accepts long references.
        min_tokens: Minimum number of tokens of the source and of a non-empty reference, without the end-of-turn token.
        max_tokens: Maximum number of tokens of the source and of the reference, without the end-of-turn token.
    """

    prompt: int
    completion: int
    too_long: TooLong = "cut_prompt"
    trains_references: bool = True
    min_tokens: int | None = None
    max_tokens: int | None = None

    def check_length(self, name: str, tokens: int) -> tuple[str, str] | None:
        """Compare the length of a text with ``min_tokens`` and ``max_tokens``.

        Args:
            name: Name of the text, for the message.
            tokens: Number of tokens, without the end token.

        Returns:
            Reason and measure for dropping the row; ``None`` if it is kept.
        """
        if self.max_tokens is not None and tokens > self.max_tokens:
            limit = f"data.init_args.prepare.max_tokens: {self.max_tokens}"
            return "too_many_tokens", f"the {name} has {tokens} tokens, more than {limit}"
        if self.min_tokens is not None and tokens < self.min_tokens:
            limit = f"data.init_args.prepare.min_tokens: {self.min_tokens}"
            return "too_few_tokens", f"the {name} has {tokens} tokens, fewer than {limit}"
        return None
