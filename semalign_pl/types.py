"""Data classes that all rooms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from torch import Tensor


Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""Value read from JSON or YAML."""

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True)
class Turn:
    """One message of a conversation.

    Attributes:
        role: Role of the speaker.
        content: Text of the message.
    """

    role: Role
    content: str


Prompt = str | Sequence[Turn]
"""Prompt of a policy: a user's message, or the turns of a conversation before the wanted one."""


class CannotRender(ValueError):
    """Error for a conversation that the chat template cannot render.

    Attributes:
        place: Index of the conversation among those given.
    """

    def __init__(self, message: str, place: int = 0) -> None:
        super().__init__(message)
        self.place = place


@dataclass(frozen=True)
class Example:
    """One row of a corpus as prompt and reference.

    Attributes:
        id: Source of the row, e.g. ``train.jsonl:17`` (1-based line or row).
        prompt: User's message with the task's template applied, without the chat template. For a conversation of
            several turns, the turns as readable text, ``role: content`` with blank lines between, for rewards, logs and
            tables.
        reference: Wanted completion; empty if the corpus has none (source-only text).
        columns: All mapped columns of the row; rewards get them by name.
        source: Text that the prompt is about, without the template.
        prompt_ids: Token ids of the prompt with the chat template; ``None`` if not tokenised yet.
        completion_ids: Token ids of the reference with the end-of-turn token; ``None`` if not tokenised yet.
        turns: All turns before the wanted completion if there is more than one user message; else empty.
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
        """Prompt for the policy: all turns of a conversation, else the user's message."""
        return self.turns or self.prompt


@dataclass(frozen=True)
class Rollouts:
    """Completions sampled from the policy; row ``i`` belongs to prompt ``i // num_generations``.

    Attributes:
        prompt_ids: Token ids of the prompts, one list per prompt.
        completion_ids: Token ids of the completions, ``(completions, tokens)`` int64, padded on the right.
        completion_mask: Completion mask, ``(completions, tokens)`` bool, true up to and including the first EOS.
        finished: Mask of the completions that ended in an EOS, ``(completions,)`` bool.
        texts: Completions as text, without special tokens, one per completion.
        num_generations: Number of completions per prompt.
    """

    prompt_ids: list[list[int]]
    completion_ids: Tensor
    completion_mask: Tensor
    finished: Tensor
    texts: list[str]
    num_generations: int


@dataclass(frozen=True)
class MetricResult:
    """Value of a metric with its confidence interval and signature.

    Attributes:
        value: Value of the metric, in the unit that the signature names.
        ci: Bootstrap 95 % confidence interval (low, high), or ``None``.
        signature: Every option that changes the value, as ``key:value`` joined by ``|`` (sacrebleu's form).
    """

    value: float
    ci: tuple[float, float] | None
    signature: str

    def as_dict(self) -> dict[str, object]:
        """Dictionary for ``results.json``."""
        return {"value": self.value, "ci": None if self.ci is None else list(self.ci), "signature": self.signature}
