"""The nouns that every folder shares."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from torch import Tensor


Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    Attributes:
        role: Who speaks.
        content: The text.
    """

    role: Role
    content: str


Prompt = str | Sequence[Turn]
"""Prompt of a policy: a user's message, or the turns of a conversation before the one that is wanted."""


class CannotRender(ValueError):
    """A conversation that the policy cannot be given.

    Attributes:
        place: Which one of those given.
    """

    def __init__(self, message: str, place: int = 0) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True)
class Example:
    """One row of a corpus, as the policy sees it.

    Attributes:
        id: Where the row came from, e.g. ``train.jsonl:17`` (1-based line or row).
        prompt: The user's message, template applied; the chat template is not. Of a conversation of several turns, the
            turns as readable text, ``role: content`` with a blank line between them, for rewards, logs and tables.
        reference: The wanted completion; empty where the corpus has none (source-only text).
        columns: All of the row's mapped columns; handed to rewards by name.
        source: The text that the prompt asks about, without the template.
        prompt_ids: The prompt as the policy reads it, chat template applied; ``None`` where it is not tokenised yet.
        completion_ids: The reference as the policy should produce it, its end included; likewise.
        turns: All turns before the wanted completion, where they are more than one user message; else none.
    """

    id: str
    prompt: str
    reference: str
    columns: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    prompt_ids: Sequence[int] | None = None
    completion_ids: Sequence[int] | None = None
    turns: tuple[Turn, ...] = ()

    @property
    def asked(self) -> Prompt:
        """Prompt that the policy gets: all turns of a conversation, else the user's message."""
        return self.turns or self.prompt


@dataclass(frozen=True)
class Rollouts:
    """Completions sampled from the policy; row ``i`` belongs to prompt ``i // num_generations``.

    Attributes:
        prompt_ids: One list of token ids a prompt (prompts).
        completion_ids: ``(rollouts, tokens)`` int64, padded on the right.
        completion_mask: ``(rollouts, tokens)`` bool, true up to and including the first EOS.
        finished: ``(rollouts,)`` bool, true where the completion ended in an EOS.
        texts: The completions as text, special tokens removed (rollouts).
        num_generations: Completions a prompt.
    """

    prompt_ids: list[list[int]]
    completion_ids: Tensor
    completion_mask: Tensor
    finished: Tensor
    texts: list[str]
    num_generations: int


@dataclass(frozen=True)
class Score:
    """A number together with everything needed to reproduce it.

    Attributes:
        value: The number, in the unit its signature names.
        ci: Bootstrap 95 % confidence interval (low, high), or ``None`` where none was computed.
        signature: Every option that changes the value, as ``key:value`` joined by ``|`` (sacrebleu's form).
    """

    value: float
    ci: tuple[float, float] | None
    signature: str

    def as_dict(self) -> dict[str, object]:
        """The score as written to ``results.json``."""
        return {"value": self.value, "ci": None if self.ci is None else list(self.ci), "signature": self.signature}
