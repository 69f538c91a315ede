"""Notes to the user about how a file is read."""

from __future__ import annotations

import functools
import logging

log = logging.getLogger(__name__)


@functools.cache
def warn_once(message: str) -> None:
    """Log a warning only once per process, as a corpus is read several times."""
    log.warning(message)
