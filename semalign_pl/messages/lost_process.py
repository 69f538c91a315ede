"""Message for a run of several processes of which one has ended."""

from __future__ import annotations

import re

_ENDED = re.compile(
    r"(closed|reset) by (peer|remote)|Broken pipe|pair closure|Connection was likely closed"  # gloo, and torch's store
    r"|ncclRemoteError|remote process exit|communicator was aborted"  # NCCL
)


def explain_lost_process(error: Exception) -> str | None:
    """One line for an error of torch.distributed by which the other processes notice that one has ended.

    Args:
        error: Error of a collective operation.

    Returns:
        Message with the remedy; ``None`` for any other error.

    >>> explain_lost_process(RuntimeError("[/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.7]:22"))
    ... # doctest: +ELLIPSIS
    "another process of the run has ended (Connection closed by peer [10.0.0.7]:22); ..."
    >>> explain_lost_process(RuntimeError("NCCL error: invalid usage. Duplicate GPU detected : rank 0 and rank 1"))
    >>> explain_lost_process(RuntimeError("[enforce fail at gloo/transport/tcp/device.cc:84] ifa != nullptr"))
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
