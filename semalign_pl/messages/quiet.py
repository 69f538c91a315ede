"""Filters for third-party warnings that users of this package cannot act on."""

from __future__ import annotations

import logging
import warnings

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
    "lightning.pytorch.utilities.rank_zero": "💡 Tip:",  # advertises other products
    "bitsandbytes.backends.cpu.ops": "kernels-community",  # only slower
    "bitsandbytes.autograd._functions": "MatMul8bitLt: inputs will be cast",  # per layer and forward of an 8-bit base
}


class _Without(logging.Filter):
    """Filter that drops log records which contain a text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def filter(self, record: logging.LogRecord) -> bool:
        return self.text not in record.getMessage()


_FILTERS = {logger: _Without(text) for logger, text in _LOG_LINES.items()}


def quieten() -> None:
    """Silence these warnings and log lines in this process; calling it again changes nothing."""
    for message in _WARNINGS:
        warnings.filterwarnings("ignore", message=message)
    for logger, unwanted in _FILTERS.items():
        logging.getLogger(logger).addFilter(unwanted)
