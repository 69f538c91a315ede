"""Connection to a vLLM server: requests with JSON bodies, and the kinds of their failures."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from semalign_pl.judge.failures import TEMPORARY, TemporaryFailure
from semalign_pl.judge.retry_after import retry_after
from semalign_pl.types import Json

GATEWAY = (502, 503, 504)
"""Status codes of a server that starts, stops or is behind a gateway."""


class RequestRefused(Exception):
    """Error for a response with a status code that the same request may get again.

    Args:
        status: Status code.
        words: Server's own words, without the key.
    """

    def __init__(self, status: int, words: str) -> None:
        super().__init__(f"HTTP {status} ({words})")
        self.status, self.words = status, words


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Handler that follows no redirect: the key is for one server."""

    def redirect_request(self, *args: object, **kwargs: object) -> None:
        """Return no request, so that the redirect is an error."""


class Connection:
    """Client of one server; requests can be made concurrently.

    Args:
        url: Base of the server's addresses, such as ``http://localhost:8000/v1``.
        key: Key for the server; empty for none. It is sent, and in no message.
        timeout: Seconds that a response may take.
    """

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self.url, self._key, self._timeout = url, key, timeout
        self._opener = urllib.request.build_opener(_NoRedirects)

    @property
    def host(self) -> str:
        """Host and port, for messages."""
        return urlsplit(self.url).netloc

    def post(self, path: str, body: dict[str, Json]) -> Json:
        """Send a request.

        Args:
            path: Path below ``url``.
            body: Content, sent as JSON.

        Returns:
            Parsed JSON of the response; its text if it is none.

        Raises:
            TemporaryFailure: If there is no connection or answer, or the server asks to come later.
            RequestRefused: For any other status code of 300 or more.
        """
        headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {self._key}"} if self._key else {})
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode(), headers, method="POST")
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                content = response.read()
        except urllib.error.HTTPError as error:
            with error:
                words = self._redact(_words(error.read(2**16)))
            if error.code in (*TEMPORARY, *GATEWAY):
                headers = {name.lower(): value for name, value in error.headers.items()}
                raise TemporaryFailure(
                    f"{self.host} answered HTTP {error.code} ({words})", retry_after(headers)
                ) from None
            raise RequestRefused(error.code, words) from None
        except TimeoutError:
            raise TemporaryFailure(f"no answer from {self.host} within {self._timeout:g} s (timeout)") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise TemporaryFailure(f"no answer from {self.host} within {self._timeout:g} s (timeout)") from None
            raise TemporaryFailure(f"no connection to {self.host} ({self._redact(str(reason))})") from None
        try:
            return json.loads(content)
        except ValueError:
            return content.decode(errors="replace")

    def _redact(self, text: str) -> str:
        """Text without the key: a server may send it back."""
        return text.replace(self._key, "***") if self._key else text


def _words(content: bytes) -> str:
    """Message of an error's body, on one line of at most 300 characters."""
    text = content.decode(errors="replace")
    try:
        body = json.loads(text)
        error = body.get("error", body)
        text = str((error.get("message") or error.get("detail") or text) if isinstance(error, dict) else error)
    except (ValueError, AttributeError):
        pass
    return " ".join(text.split())[:300]
