"""Failures of requests to a judge: try again, leave the question out, or end the command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from semalign_pl.judge.retry_after import retry_after
from semalign_pl.judge.spec import JudgeSpec

if TYPE_CHECKING:
    from openai import APIStatusError

TEMPORARY = (408, 409, 425, 429)
"""Status codes below 500 that another try may mend."""


class RefusedQuestion(ValueError):
    """Error for a question that a judge refuses, whereas it may answer others."""


class TemporaryFailure(Exception):
    """Error for a request that may succeed later.

    Args:
        message: Message.
        retry_after: Seconds that the server asks to wait; ``None`` if it does not say.
    """

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


def explain_status(
    error: APIStatusError, detail: str, name: str, spec: JudgeSpec, answered: bool, sets_temperature: bool
) -> Exception:
    """Error to raise for a status code of 400 or more.

    Args:
        error: Error of the client.
        detail: Server's own words, without the key.
        name: Name of the judge in results.
        spec: Model and address.
        answered: True if the server has answered another question.
        sets_temperature: True if the request had a temperature.

    Returns:
        `TemporaryFailure` if another try may succeed, `RefusedQuestion` if the server answers other questions, else
        ``ValueError`` with the remedy.
    """
    code = error.status_code
    message = f"{spec.host} answered HTTP {code} ({detail})"
    if error.code == "insufficient_quota":
        return ValueError(f"{name}: {message}; the account has no credit left, add some and run it again")
    if code in TEMPORARY or code >= 500:
        return TemporaryFailure(message, retry_after(error.response.headers))
    if code in (401, 403):
        remedy = (
            f"check the key in {spec.key_variable}"
            if spec.key_variable
            else f"name the environment variable with its key: {spec.model}@{spec.url},VARIABLE"
        )
        return ValueError(f"{name}: {message}; {remedy}")
    if code in (404, 405):
        return ValueError(f"{name}: {message}; check the model's name and the address {spec.url}")
    if "temperature" in detail and sets_temperature:
        return ValueError(f"{name}: {message}; give --temperature default (in a recipe, temperature: null)")
    if not answered:
        return ValueError(f"{name}: {message}; mend what it names")
    return RefusedQuestion(f"{name}: {message}")
