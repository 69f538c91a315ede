"""Requests for completions of one prompt by vLLM's protocol, and their responses."""

from __future__ import annotations

from dataclasses import dataclass

from semalign_pl.judge.failures import TemporaryFailure
from semalign_pl.types import Json


@dataclass(frozen=True)
class Sampled:
    """Completion of a server.

    Attributes:
        ids: Token ids, with the EOS if there is one.
        logps: Log-probs that they were drawn with, in nats, as long as ``ids``; empty if not asked for.
    """

    ids: list[int]
    logps: list[float]


@dataclass(frozen=True)
class CompletionRequest:
    """Settings of the sampling, the same for all prompts of a step.

    Attributes:
        count: Number of completions per prompt.
        max_tokens: Maximum number of tokens per completion, EOS included.
        eos_ids: Token ids that end a completion.
        logprobs: Flag to ask for the log-probs that the tokens were drawn with.
        temperature: Divisor of the logits.
        top_p: Probability mass of the nucleus; 1 for all tokens.
        top_k: Number of likeliest tokens to sample from; 0 for all.
        min_p: Minimum probability of a sampled token, as a fraction of the likeliest token's.
    """

    count: int
    max_tokens: int
    eos_ids: tuple[int, ...]
    logprobs: bool
    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    min_p: float = 0.0

    def body(self, adapter: str, prompt: list[int], seed: int) -> dict[str, Json]:
        """Body of ``POST /v1/completions``.

        Every setting of the sampling is sent: what is left out, the server takes from the ``generation_config.json`` of
        the base. So do the tokens that end a completion, hence ``ignore_eos`` and the policy's own tokens instead.

        Args:
            adapter: Name of the loaded adapter.
            prompt: Token ids of the prompt.
            seed: Seed of the first completion; vLLM gives the next ones the seeds after it.
        """
        return {
            "model": adapter,
            "prompt": list(prompt),
            "n": self.count,
            "seed": seed,
            **{name: getattr(self, name) for name in ("temperature", "top_p", "top_k", "min_p", "max_tokens")},
            **{"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0},
            **{"ignore_eos": True, "stop_token_ids": list(self.eos_ids)},
            **{"return_token_ids": True, "skip_special_tokens": False},
            **({"logprobs": 1} if self.logprobs else {}),
        }

    def read(self, response: Json) -> list[Sampled]:
        """Completions of a response, in the order of their seeds.

        Args:
            response: Parsed JSON.

        Raises:
            TemporaryFailure: If the response is cut off, or a completion was aborted.
            ValueError: If the server does not speak vLLM's protocol, or ended a completion at another token.
        """
        choices = response.get("choices") if isinstance(response, dict) else None
        if not isinstance(choices, list) or len(choices) != self.count:
            raise TemporaryFailure(f"an answer without the {self.count} completions that were asked for")
        return [_read_choice(choice, self) for choice in sorted(choices, key=_index)]


def _index(choice: Json) -> int:
    index = choice.get("index") if isinstance(choice, dict) else None
    return index if isinstance(index, int) else 0


def _read_choice(choice: Json, asked: CompletionRequest) -> Sampled:
    assert isinstance(choice, dict), "checked by its index"
    ids, logps = choice.get("token_ids"), []
    if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
        raise ValueError("the server returns no token ids (return_token_ids); use vLLM 0.11 or later")
    if asked.logprobs:
        field = choice.get("logprobs")
        logps = field.get("token_logprobs") if isinstance(field, dict) else None
        if not isinstance(logps, list) or len(logps) != len(ids) or not all(isinstance(v, int | float) for v in logps):
            raise ValueError("the server returns no log-prob for each token (logprobs); use vLLM 0.11 or later")
    reason = choice.get("finish_reason")
    if reason not in ("stop", "length"):
        raise TemporaryFailure(f"a completion that ended by {reason!r}")
    # A completion that ends early without one of these tokens would be trained to never end.
    if len(ids) != asked.max_tokens if reason == "length" else not ids or ids[-1] not in asked.eos_ids:
        raise ValueError(
            f"the server ended a completion by {reason!r} (stop_reason {choice.get('stop_reason')!r}) after "
            f"{len(ids)} tokens, and not at one of the policy's end tokens {list(asked.eos_ids)}; serve it with "
            "--generation-config vllm, and with room for prompt and completion (--max-model-len)"
        )
    return Sampled([int(token) for token in ids], [float(value) for value in logps])  # pyright: ignore
