"""One line about memory that has run out, with the options to lower."""

from __future__ import annotations

import re

_MESSAGE = re.compile(
    r"(?:CUDA )?out of memory\b[^.]*(?:\. Tried to allocate [\d.]+ \w+)?|can't allocate memory[^.]*", re.I
)


def explain_out_of_memory(error: BaseException) -> str | None:
    """One line about an allocation that PyTorch could not make, on a GPU or a CPU; ``None`` for any other error.

    Args:
        error: Error to examine. PyTorch raises a ``RuntimeError``, of which ``torch.OutOfMemoryError`` is a subclass.
    """
    match = _MESSAGE.search(str(error)) if isinstance(error, RuntimeError) else None
    if match is None:
        return None
    return (
        f"{match[0].strip()}; lower model.init_args.micro_batch_tokens (with samples also rollout_rows), or set "
        "model.init_args.recompute: true; `semalign plan --config FILE --memory 12GiB` proposes settings that fit"
    )
