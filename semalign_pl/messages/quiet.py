"""Filters for third-party warnings, log lines and progress bars that users of this package cannot act on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

_WARNINGS = (
    r"`isinstance\(treespec, LeafSpec\)` is deprecated",  # Lightning 2.6 on torch 2.13
    "'set_vital' is deprecated",  # torchdata 0.11 on torch 2.13
    "`is_gradient_checkpointing` is deprecated",  # PEFT on transformers 5
    "Using ModelCheckpoint with manual optimization",  # we save only after a whole step, as resuming needs
    r"Found \d+ module\(s\) in eval mode at the start of training",  # the frozen base model, see Policy.train
    "LightningCLI's args parameter",  # meant for scripts; every command here gives its own arguments
    "Experiment logs directory .* exists and is not empty",  # the CLI keeps the earlier metrics.csv
)
_LOG_LINES = {
    "lightning.pytorch.utilities.rank_zero": (
        "💡 Tip:",  # advertises other products
        "GPU available: ",  # a GPU that is available but not used is also warned of
        "TPU available: ",
        "Automatic Mixed Precision (AMP)",  # repeats the recipe
        "has Tensor Cores. To properly utilize them",  # would change the numbers of a run
        "`Trainer.fit` stopped: ",  # the summary says how many steps were made
    ),
    "lightning.pytorch.accelerators.cuda": ("CUDA_VISIBLE_DEVICES",),
    "lightning.fabric.utilities.seed": ("Seed set to",),  # repeats the recipe
    "bitsandbytes.backends.cpu.ops": ("kernels-community",),  # only slower
    "bitsandbytes.autograd._functions": ("MatMul8bitLt: inputs will be cast",),  # per layer of an 8-bit base
}
PATIENCE_SECONDS = 2.0
"""Seconds of loading after which its progress bar is shown."""


class _Without(logging.Filter):
    """Filter that drops log records which contain one of several texts."""

    def __init__(self, texts: Sequence[str]) -> None:
        super().__init__()
        self.texts = texts

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        return not any(text in message for text in self.texts)


_FILTERS = {logger: _Without(texts) for logger, texts in _LOG_LINES.items()}


def quieten() -> None:
    """Silence these warnings and log lines in this process; calling it again changes nothing."""
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for logger, unwanted in _FILTERS.items():
        logging.getLogger(logger).addFilter(unwanted)


def quieten_loading() -> None:
    """Show the progress bar of loading weights only on a terminal, after 2 seconds, and remove it when they are loaded.

    Downloads keep their own progress bars. This imports transformers.
    """
    from transformers.utils.logging import set_tqdm_hook

    set_tqdm_hook(_patient)


def _patient(make: Callable[..., Any], args: tuple[Any, ...], options: Mapping[str, Any]) -> Any:
    return make(*args, **{**options, "delay": PATIENCE_SECONDS, "disable": None, "leave": False})
