"""Downloads of files whose content is known beforehand: what arrives is the file with its checksum, or an error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

CONNECT_SECONDS = 10
READ_SECONDS = 30
"""Longest time without a byte, in seconds."""
RETRY = Retry(
    total=2,
    backoff_factor=0.5,
    status_forcelist=(429, 500, 502, 503, 504),
    raise_on_status=False,
    respect_retry_after_header=False,  # a server may ask for an hour
)


def download(url: str, path: Path, sha256: str, size: int, progress: Callable[[int], object] = lambda _: None) -> None:
    """Download a file and check its content.

    Proxies are taken from ``HTTPS_PROXY`` and ``HTTP_PROXY``. A connection that fails, or a server that is busy, is
    tried three times.

    Args:
        url: URL of the file.
        path: File to write. It is partly written if an error is raised; give a path in a temporary folder.
        sha256: SHA-256 of its content, in hexadecimal.
        size: Size in bytes; not more is read.
        progress: Function called with the number of bytes of each chunk.

    Raises:
        ValueError: If the file cannot be downloaded or has another content; one line with URL and reason.
    """
    digest, got, begun = hashlib.sha256(), 0, False
    try:
        with requests.Session() as session, path.open("wb") as file:
            session.mount("https://", HTTPAdapter(max_retries=RETRY))
            session.mount("http://", HTTPAdapter(max_retries=RETRY))
            with session.get(url, stream=True, timeout=(CONNECT_SECONDS, READ_SECONDS)) as response:
                if not response.ok:
                    raise ValueError(f"{url}: the server answers {response.status_code} {response.reason}")
                begun = True
                for chunk in response.iter_content(2**16):
                    digest.update(chunk)
                    got += len(chunk)
                    if got > size:
                        break
                    file.write(chunk)
                    progress(len(chunk))
    except requests.RequestException as error:
        raise ValueError(f"{url}: {_reason(error, begun)}") from error
    if got > size or digest.hexdigest() != sha256:
        more = "more than " if got > size else ""
        raise ValueError(
            f"{url}: not the expected file: {more}{min(got, size):,} bytes with SHA-256 {digest.hexdigest()[:16]}…, "
            f"expected {size:,} bytes with {sha256[:16]}…; a proxy or login page may have answered instead"
        )


def _reason(error: requests.RequestException, begun: bool) -> str:
    """Return why a download failed, in the words of the innermost error that has some."""
    if begun:
        return "the connection broke off before the end of the file"
    if isinstance(error, requests.Timeout):
        return f"no answer within {READ_SECONDS} seconds"
    words, cause = type(error).__name__, error
    while cause is not None:
        words = getattr(cause, "strerror", None) or words
        cause = cause.__cause__ or cause.__context__
    return f"the server cannot be reached ({words})"
