"""Requests for completions of one prompt by vLLM's protocol, and their responses."""

from __future__ import annotations

from collections.abc import Sequence
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


def request_body(
    adapter: str,
    prompt: list[int],
    count: int,
    max_tokens: int,
    eos_ids: Sequence[int],
    seed: int,
    logprobs: bool,
    temperature: float,
    top_p: float = 1.0,
    top_k: int = 0,
    min_p: float = 0.0,
) -> dict[str, Json]:
    """Body of ``POST /v1/completions``.

    Every setting of the sampling is sent: what is left out, the server takes from the ``generation_config.json`` of the
    base. So do the tokens that end a completion, hence ``ignore_eos`` and the policy's own tokens instead.

    Args:
        adapter: Name of the loaded adapter.
        prompt: Token ids of the prompt.
        count: Number of completions.
        max_tokens: Maximum number of tokens per completion.
        eos_ids: Token ids that end a completion.
        seed: Seed of the first completion; vLLM gives the next ones the seeds after it.
        logprobs: Flag to ask for log-probs.
        temperature: Divisor of the logits.
        top_p: Probability mass of the nucleus; 1 for all tokens.
        top_k: Number of likeliest tokens to sample from; 0 for all.
        min_p: Minimum probability of a sampled token, as a fraction of the likeliest token's.
    """
    sampling: dict[str, Json] = {"temperature": temperature, "top_p": top_p, "top_k": top_k, "min_p": min_p}
    neutral: dict[str, Json] = {"repetition_penalty": 1.0, "presence_penalty": 0.0, "frequency_penalty": 0.0}
    ends: dict[str, Json] = {"max_tokens": max_tokens, "ignore_eos": True, "stop_token_ids": list(eos_ids)}
    asked: dict[str, Json] = {"return_token_ids": True, "skip_special_tokens": False}
    asked |= {"logprobs": 1} if logprobs else {}
    return {"model": adapter, "prompt": list(prompt), "n": count, "seed": seed, **sampling, **neutral, **ends, **asked}


def read_response(body: Json, count: int, max_tokens: int, eos_ids: Sequence[int], logprobs: bool) -> list[Sampled]:
    """Completions of a response, in the order of their seeds.

    Args:
        body: Parsed JSON.
        count: Number of completions that were asked for.
        max_tokens: Maximum number of tokens that was asked for.
        eos_ids: Token ids that end a completion.
        logprobs: True if log-probs were asked for.

    Raises:
        TemporaryFailure: If the response is cut off, or a completion was aborted.
        ValueError: If the server does not speak vLLM's protocol, or ended a completion at another token.
    """
    choices = body.get("choices") if isinstance(body, dict) else None
    if not isinstance(choices, list) or len(choices) != count:
        raise TemporaryFailure(f"an answer without the {count} completions that were asked for")
    sampled = [_read_choice(choice, max_tokens, eos_ids, logprobs) for choice in sorted(choices, key=_index)]
    return sampled


def _index(choice: Json) -> int:
    index = choice.get("index") if isinstance(choice, dict) else None
    return index if isinstance(index, int) else 0


def _read_choice(choice: Json, max_tokens: int, eos_ids: Sequence[int], logprobs: bool) -> Sampled:
    assert isinstance(choice, dict), "checked by its index"
    ids, logps = choice.get("token_ids"), []
    if not isinstance(ids, list) or not all(isinstance(token, int) for token in ids):
        raise ValueError("the server returns no token ids (return_token_ids); use vLLM 0.11 or later")
    if logprobs:
        field = choice.get("logprobs")
        logps = field.get("token_logprobs") if isinstance(field, dict) else None
        if not isinstance(logps, list) or len(logps) != len(ids) or not all(isinstance(v, int | float) for v in logps):
            raise ValueError("the server returns no log-prob for each token (logprobs); use vLLM 0.11 or later")
    reason = choice.get("finish_reason")
    if reason not in ("stop", "length"):
        raise TemporaryFailure(f"a completion that ended by {reason!r}")
    # A completion that ends early without one of these tokens would be trained to never end.
    if reason == "stop" and (not ids or ids[-1] not in eos_ids) or reason == "length" and len(ids) != max_tokens:
        raise ValueError(
            f"the server ended a completion by {reason!r} (stop_reason {choice.get('stop_reason')!r}) after "
            f"{len(ids)} tokens, and not at one of the policy's end tokens {list(eos_ids)}; serve it with "
            "--generation-config vllm, and with room for prompt and completion (--max-model-len)"
        )
    return Sampled([int(token) for token in ids], [float(value) for value in logps])  # pyright: ignore
