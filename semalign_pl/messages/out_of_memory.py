"""One line about memory that has run out, with the options to lower and the command that proposes settings."""

from __future__ import annotations

import re
import shlex
import sys
import traceback
from collections.abc import Sequence

_MESSAGE = re.compile(
    r"(?:CUDA )?out of memory\b[^.]*(?:\. Tried to allocate [\d.]+ \w+)?|can't allocate memory[^.]*", re.I
)

_OF_RUN = ("translate", "chat", "demo")
"""Commands that read their settings from the folder of a run and complete prompts only."""
_WITHOUT_GRADIENT = ("validate", "test", "predict")


def explain_out_of_memory(error: BaseException, args: Sequence[str] = ()) -> str | None:
    """One line about an allocation that PyTorch could not make, on a GPU or a CPU; ``None`` for any other error.

    Args:
        error: Error to examine. PyTorch raises a ``RuntimeError``, of which ``torch.OutOfMemoryError`` is a subclass.
        args: Command line. The proposed ``semalign plan`` has the flags of a ``fit``, and the memory of its GPU.
    """
    match = _MESSAGE.search(str(error)) if isinstance(error, RuntimeError) else None
    if match is None:
        return None
    command = args[0] if args else ""
    module, evaluates = _find_stage(error)
    if command in _OF_RUN:
        remedy = "lower data.init_args.eval_batch_size or model.init_args.max_new_tokens in RUN/fit.yaml"
    elif hasattr(module, "micro_batch"):  # an encoder
        remedy = "lower model.init_args.micro_batch or model.init_args.max_seq_length"
    elif evaluates or command in _WITHOUT_GRADIENT:
        remedy = "lower data.init_args.eval_batch_size or model.init_args.micro_batch_tokens"
    else:
        remedy = (
            "lower model.init_args.micro_batch_tokens (with samples also rollout_rows), or set "
            f"model.init_args.recompute: true; `{plan_command(args, _gpu_bytes())}` proposes settings that fit"
        )
    return f"{match[0].strip()}; {remedy}"


def _find_stage(error: BaseException) -> tuple[object, bool]:
    """Module of the trainer that was running, if any, and true within a validation or test.

    They are read from the traceback: the trainer itself forgets on an error which loop was running.
    """
    module, evaluates = None, False
    for frame, _ in traceback.walk_tb(error.__traceback__):
        module = getattr(frame.f_locals.get("self"), "lightning_module", None) or module
        evaluates = evaluates or frame.f_globals.get("__name__") == "lightning.pytorch.loops.evaluation_loop"
    return module, evaluates


def plan_command(args: Sequence[str], memory: int | None) -> str:
    """Command line that plans the same recipe, as ``semalign plan`` takes the flags of ``fit``.

    Args:
        args: Command line that ran out of memory.
        memory: Size of the GPU's memory in bytes; ``None`` if no GPU was used.

    >>> plan_command(["fit", "--config", "my run.yaml", "--resume"], 25_000_000_000)
    "semalign plan --config 'my run.yaml' --memory 23GiB"
    >>> plan_command(["test", "-c", "a.yaml"], None)
    'semalign plan --config FILE --memory 12GiB'
    """
    recipe = [arg for arg in args[1:] if arg != "--resume"] if args[:1] == ["fit"] else []
    # A GPU's memory is a little below its name, so that rounding down plans with what is there.
    size = "12GiB" if memory is None else f"{memory >> 30}GiB"
    return f"semalign plan {shlex.join(recipe) or '--config FILE'} --memory {size}"


def _gpu_bytes() -> int | None:
    """Memory of the GPU in use; ``None`` for none. torch, which takes seconds to import, is not imported."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_initialized():
        return None
    return torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
