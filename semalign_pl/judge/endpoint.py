"""Judge at any server that speaks OpenAI's chat-completions protocol."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from semalign_pl.judge.failures import TemporaryFailure, explain_status
from semalign_pl.judge.question import Question, Reply
from semalign_pl.judge.rate_limiter import RateLimiter
from semalign_pl.judge.spec import OPENAI_HOST, JudgeSpec

if TYPE_CHECKING:
    from openai import AsyncOpenAI

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Backoff in seconds: it doubles from the first to the longest, and a quarter of it is random."""
LONGEST_RETRY_AFTER = 600.0
"""Longest Retry-After in seconds that is waited for; a longer one ends the command, which can be run again later."""


@dataclass(frozen=True)
class Sampling:
    """Settings of the sampling of answers.

    Attributes:
        max_tokens: Maximum number of tokens of an answer, thoughts included.
        temperature: Temperature; ``None`` for the server's default.
    """

    max_tokens: int = 2048
    temperature: float | None = 0.0


class Endpoint:
    """Judge at a server; questions can be asked concurrently.

    Args:
        spec: Model and address.
        key: Key for the server; empty for none. It is sent, and in no message, log or result.
        sampling: Settings of the sampling of answers.
        parallel: Maximum number of requests at the same time.
        per_minute: Maximum number of requests per minute; ``None`` for no limit.
        timeout: Seconds that an answer may take.
        retries: Number of further tries after a failed one.
        name: Name of the judge in results; the model's by default.
        notify: Function that shows a line to the user.

    Attributes:
        name: Name of the judge in results.
        answered: True if the server has answered a question, in this command or in an earlier one.
        requests: Number of requests so far.
        failures: Number of requests so far that failed and were tried again.
    """

    def __init__(
        self,
        spec: JudgeSpec,
        key: str,
        sampling: Sampling,
        parallel: int = 8,
        per_minute: float | None = None,
        timeout: float = 120.0,
        retries: int = 6,
        name: str | None = None,
        notify: Callable[[str], None] = lambda line: None,
    ) -> None:
        self.spec, self.sampling, self.name = spec, sampling, name or spec.model
        self._key, self._limits = key, (parallel, per_minute)
        self._timeout, self._retries, self._notify = timeout, retries, notify
        self._limit_name = "max_tokens"
        self.answered = self._told = False
        self.requests = self.failures = 0

    @property
    def identity(self) -> str:
        """Model, address and sampling."""
        limit, temperature = self.sampling.max_tokens, self.sampling.temperature
        return f"{self.spec.model}@{self.spec.url}|max_tokens:{limit}|temperature:{temperature}"

    @functools.cached_property
    def _rate_limiter(self) -> RateLimiter:
        return RateLimiter(*self._limits)

    @functools.cached_property
    def _client(self) -> AsyncOpenAI:
        from openai import AsyncOpenAI

        # Retries are ours: they wait for all tasks, count against the limits, and include malformed answers.
        client = AsyncOpenAI(api_key=self._key or "none", base_url=self.spec.url, timeout=self._timeout, max_retries=0)
        if urlsplit(self.spec.url).hostname != OPENAI_HOST:
            # From OPENAI_ORG_ID, OPENAI_PROJECT_ID and OPENAI_CUSTOM_HEADERS; these are for OpenAI, as its key is.
            client.organization = client.project = None
            client._custom_headers = {}
        return client

    async def ask(self, question: Question) -> Reply:
        """Answer one question, in as many tries as it takes.

        Args:
            question: Question to ask.

        Raises:
            RefusedQuestion: If the server refuses this question, after it has answered another one.
            ValueError: If the server refuses the key, the model or every question, or all tries failed.
        """
        begun, error = time.monotonic(), TemporaryFailure("")
        for attempt in range(self._retries + 1):
            try:
                async with self._rate_limiter.turn():
                    reply = await self._send(question)
                self.answered = True
                return Reply(*reply, seconds=round(time.monotonic() - begun, 3))
            except TemporaryFailure as failure:
                error = failure
            self.failures += 1
            wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) * (1 - random.random() / 4)
            if error.retry_after is not None and error.retry_after > LONGEST_RETRY_AFTER:
                raise ValueError(
                    f"{self.name}: {error}, and asks to wait {error.retry_after:,.0f} s; run the same command later, "
                    "it goes on from here"
                ) from None
            if error.retry_after is not None:
                wait = error.retry_after
                self._rate_limiter.pause(wait)
            if not self._told:
                self._told = True
                self._notify(f"{self.name}: {error}; trying again, also later")
            if attempt < self._retries:
                await asyncio.sleep(wait)
        tries = f"{self._retries + 1} tries" if self._retries else "the only try"
        raise ValueError(
            f"{self.name}: {tries} failed, the last one: {error}; check {self.spec.url}, and run the same command "
            "again, it goes on from here"
        ) from None

    async def _send(self, question: Question) -> tuple[str, bool, int, int]:
        """One try: text, completeness, tokens read and written."""
        from openai import APIConnectionError, APIError, APIStatusError, APITimeoutError

        limit_name = self._limit_name  # another task may change it while this one waits
        options: dict[str, object] = {limit_name: self.sampling.max_tokens}
        self.requests += 1
        if self.sampling.temperature is not None:
            options["temperature"] = self.sampling.temperature
        try:
            # As raw text: the client passes on answers that lack half of the protocol's fields.
            request = self._client.chat.completions.with_raw_response.create(
                model=self.spec.model,
                messages=question.messages,  # pyright: ignore[reportArgumentType]
                extra_body=options,
            )
            # The client's timeout begins anew with every byte, and some gateways send blanks while a model thinks.
            raw = await asyncio.wait_for(request, self._timeout)
            return self._read(raw.http_response.json())
        except (APITimeoutError, asyncio.TimeoutError):
            raise TemporaryFailure(f"no answer within {self._timeout:g} s (--timeout)") from None
        except APIConnectionError as error:
            cause = error.__cause__ or error
            raise TemporaryFailure(self._redact(f"no connection ({type(cause).__name__}: {cause})")) from None
        except APIStatusError as error:
            if limit_name == "max_tokens" and "max_completion_tokens" in str(error.body):
                self._limit_name = "max_completion_tokens"  # newer name of the same limit
                return await self._send(question)
            words = error.body.get("message") if isinstance(error.body, dict) else None
            detail = self._redact(" ".join(str(words or error.message).split()))[:300]
            sets_temperature = self.sampling.temperature is not None
            raise explain_status(error, detail, self.name, self.spec, self.answered, sets_temperature) from None
        except APIError as error:
            raise TemporaryFailure(self._redact(f"malformed answer ({error.message})")) from None
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise TemporaryFailure(self._redact(f"malformed answer ({type(error).__name__}: {error})")) from None

    def _read(self, body: object) -> tuple[str, bool, int, int]:
        """Text and tokens of a response's JSON.

        Raises:
            LookupError, TypeError: If it is no chat completion.
        """
        if not isinstance(body, dict):
            raise TypeError(f"a {type(body).__name__} in place of an object")
        if body.get("error"):  # some gateways report errors with status 200
            raise LookupError(f"error {body['error']}")
        choice = body["choices"][0]
        text = choice["message"].get("content") or ""
        if not isinstance(text, str):
            raise TypeError("content is no text")
        usage = body.get("usage") or {}
        tokens = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
        read, written = (count if isinstance(count, int) and count >= 0 else 0 for count in tokens)
        return self._redact(text), choice.get("finish_reason") not in ("length", "content_filter"), read, written

    def _redact(self, text: str) -> str:
        """Text without the key: a server may send it back."""
        return text.replace(self._key, "***") if self._key else text

    def prepare(self) -> None:
        """Import the client.

        Raises:
            ValueError: If it is not installed.
        """
        try:
            import openai  # noqa: F401
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{self.name}: openai is not installed; pip install 'semalign-pl[judge]', or give local:FOLDER"
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        if "_client" in self.__dict__:
            with contextlib.suppress(Exception):
                await self._client.close()
