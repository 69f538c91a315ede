"""Time that a server asks to wait."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime


def retry_after(headers: Mapping[str, str], now: datetime | None = None) -> float | None:
    """Seconds that a server asks to wait (RFC 9110, section 10.2.3: seconds or a date).

    Args:
        headers: Headers of the response, with names in lower case.
        now: Current time; the clock's by default.

    Returns:
        Seconds, at least 0; ``None`` if the server does not say, or says something else.

    >>> retry_after({"retry-after": "1.5"}), retry_after({"retry-after": "soon"})
    (1.5, None)
    """
    text = headers.get("retry-after", "")
    with contextlib.suppress(ValueError):
        return max(0.0, seconds) if (seconds := float(text)) < float("inf") else None
    with contextlib.suppress(ValueError, TypeError):
        date = parsedate_to_datetime(text)
        date = date if date.tzinfo else date.replace(tzinfo=timezone.utc)
        return max(0.0, (date - (now or datetime.now(timezone.utc))).total_seconds())
    return None
