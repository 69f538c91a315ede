"""Data classes that all rooms share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor


Json: TypeAlias = "dict[str, Json] | list[Json] | str | int | float | bool | None"
"""Value of parsed JSON or YAML."""

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
        turns: All turns before the wanted completion if it is not one user message alone; else empty.
        corpus: Name of the row's corpus in a mix of corpora; else empty.
        language: Language of the completion, a code or a .yaml file (see `get_language`), in a mix whose tasks name
            one; else empty.
        task: Name of the corpus, in a split whose corpora have different tasks; else empty.
        replay: True if the row is replayed against forgetting: GRPO neither samples nor rewards it.
        text_bytes: Size of the completion in bytes if the row is raw text, which has no prompt to complete; ``None``
            for any other row.
    """

    id: str
    prompt: str
    reference: str
    columns: Mapping[str, str] = field(default_factory=dict)
    source: str = ""
    prompt_ids: Sequence[int] | None = None
    completion_ids: Sequence[int] | None = None
    turns: tuple[Turn, ...] = ()
    corpus: str = ""
    language: str = ""
    task: str = ""
    replay: bool = False
    text_bytes: int | None = None

    @property
    def is_raw_text(self) -> bool:
        """True for raw text, whose tokens are all predicted, and which has no prompt to complete."""
        return self.text_bytes is not None

    @property
    def policy_prompt(self) -> Prompt:
        """Prompt for the policy: all turns of a conversation, else the user's message."""
        return self.turns or self.prompt


@dataclass(frozen=True)
class Rollouts:
    """Completions sampled from the policy; row ``i`` belongs to prompt ``i // num_generations``.

    Attributes:
        prompt_ids: Token ids of the prompts, one list per prompt.
        completion_ids: Token ids of the completions, padded on the right.
        completion_mask: Completion mask, true up to and including the first EOS.
        finished: Mask of the completions that ended in an EOS.
        texts: Completions as text, without special tokens, one per completion.
        num_generations: Number of completions per prompt.
        sampler_logps: Log-probs, in nats, that another sampler than the policy drew the tokens with; ``None`` if the
            policy itself sampled them.
        reused_tokens: Number of tokens that came from drafts (`generate`).
    """

    prompt_ids: list[list[int]]
    completion_ids: Int[Tensor, "completions tokens"]
    completion_mask: Bool[Tensor, "completions tokens"]
    finished: Bool[Tensor, " completions"]
    texts: list[str]
    num_generations: int
    sampler_logps: Float[Tensor, "completions tokens"] | None = None
    reused_tokens: int = 0


class StepOutputs(TypedDict):
    """Return value of GRPO's ``training_step``, for the callbacks.

    Attributes:
        examples: Examples of the step.
        rollouts: Their completions, ``num_generations`` per example.
        rewards: Total reward per completion, NaN where not scored.
        rewards_per_func: Scores of each reward per completion, by the reward's name, NaN where it gave no score.
        extra: Extra columns of the rewards by name, one value per completion.
    """

    examples: list[Example]
    rollouts: Rollouts
    rewards: Float[Tensor, " completions"]
    rewards_per_func: dict[str, Float[Tensor, " completions"]]
    extra: Mapping[str, Sequence[object]]


@dataclass(frozen=True)
class MetricResult:
    """Value of a metric with its confidence interval and signature.

    Attributes:
        value: Value of the metric, in the unit that the signature names.
        ci: Bootstrap 95 % confidence interval (low, high), or ``None``.
        signature: Every option that changes the value, as ``key:value`` joined by ``|`` (sacrebleu's form).
        items: Set of items that the value is computed from; ``None`` for a value that is no function of sums over
            items, such as a percentile.
        formula: Formula of ``functional/formulas.py`` that gives the value from the sum of the items' statistics;
            ``None`` if there is none.
    """

    value: float
    ci: tuple[float, float] | None
    signature: str
    items: str | None = None
    formula: str | None = None

    def as_dict(self) -> dict[str, object]:
        """Dictionary for ``results.json``."""
        return asdict(self)


@dataclass(frozen=True)
class Item:
    """One test text, question or row in a test: a line of ``items.jsonl``, and the unit of resampling.

    Attributes:
        set: Name of the items that are resampled together: ``test`` for the rows of the test corpus, else the name of
            a probe, such as ``cmrc``.
        id: Id of the item in its set, such as ``test.jsonl:17``.
        statistics: Sufficient statistics by metric; the metric's formula gives the score from their sum over the set.
        text: Prediction or answer of the policy; ``None`` if it generates none.
    """

    set: str
    id: str
    statistics: Mapping[str, Sequence[float]]
    text: str | None = None


@dataclass(frozen=True)
class Histogram:
    """Counts of values between fixed edges, so that the histograms of two systems can be compared.

    Attributes:
        edges: Edges of the bins, ascending, one more than there are bins.
        counts: Number of values per bin. Bin ``i`` has the values from ``edges[i]`` to below ``edges[i + 1]``. The
            outermost bins are open: the first also counts all smaller values, the last all larger ones.
    """

    edges: Sequence[float]
    counts: Sequence[int]


@dataclass(frozen=True)
class Measurement:
    """Result of a probe: scores, and what they were computed from.

    Attributes:
        scores: Scores by name, e.g. ``cmrc_f1``.
        items: Items of the scores that name a set of items.
        histograms: Histograms by name, e.g. ``nll_change``.

    Raises:
        ValueError: If a score names a set of items without its statistics.
    """

    scores: dict[str, MetricResult]
    items: Sequence[Item] = ()
    histograms: Mapping[str, Histogram] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, score in self.scores.items():
            of_set = [item for item in self.items if item.set == score.items]
            if score.items is not None and not (of_set and all(name in item.statistics for item in of_set)):
                raise ValueError(
                    f"{name}: its value is computed from the items of {score.items!r}, so each of these (there are "
                    f"{len(of_set)}) needs statistics[{name!r}]"
                )

    def with_name(self, name: str | None) -> Measurement:
        """Measurement of one set of items, with a name of its own, so that two probes of one class can be told apart.

        Args:
            name: Name of the set of items, and prefix of all other names; ``None`` to change nothing.
        """
        if name is None:
            return self
        scores = {
            f"{name}_{key}": replace(score, items=None if score.items is None else name)
            for key, score in self.scores.items()
        }
        items = [
            replace(item, set=name, statistics={f"{name}_{key}": value for key, value in item.statistics.items()})
            for item in self.items
        ]
        return Measurement(scores, items, {f"{name}_{key}": value for key, value in self.histograms.items()})


class PredictionOutputs(TypedDict):
    """Result of a validation, test or predict step of a policy, for the callbacks.

    Attributes:
        examples: Examples of the batch.
        predictions: Completions of the examples, as text.
    """

    examples: list[Example]
    predictions: list[str]
