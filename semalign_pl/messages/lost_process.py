"""Message for a run of several processes of which one has ended."""

from __future__ import annotations

import re

_ENDED = re.compile(r"gloo/|Gloo |NCCL|(closed|reset) by (peer|remote)|Broken pipe|TCPStore|remote process exited")


def explain_lost_process(error: Exception) -> str | None:
    """One line for an error of torch.distributed by which the other processes notice that one has ended.

    Args:
        error: Error of a collective operation.

    Returns:
        Message with the remedy; ``None`` for any other error.

    >>> explain_lost_process(RuntimeError("[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.7]:22"))
    ... # doctest: +ELLIPSIS
    'another process of the run has ended (Connection closed by peer [10.0.0.7]:22); ...'
    >>> explain_lost_process(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    """
    if not isinstance(error, RuntimeError) or not _ENDED.search(text := str(error)):
        return None
    lines = re.sub(r"\[[^]]*\.\w+:\d+\]", "", text).strip().splitlines()
    what = lines[0].strip().split(". ")[0][:200] if lines else type(error).__name__  # gloo adds advice
    return (
        f"another process of the run has ended ({what}); see its "
        "message, or the kernel's log (dmesg) if it has none, as memory may have run out; then start the run again, "
        "with --resume to go on from its last checkpoint"
    )
