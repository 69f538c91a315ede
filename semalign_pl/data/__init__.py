"""Corpora as batches of examples: sources, tasks, row order, and the data module.

The names are imported when they are first used, so that reading a corpus does not import torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from semalign_pl.data.conversation import Conversation
    from semalign_pl.data.corpus import CorpusDataModule
    from semalign_pl.data.order import EvalOrder, TrainOrder
    from semalign_pl.data.raw_text import RawText
    from semalign_pl.data.reading.sources import read
    from semalign_pl.data.tasks import Headline, Instruction, Summarisation, Task, Translation

_MODULES = {
    "conversation": ("Conversation",),
    "corpus": ("CorpusDataModule",),
    "order": ("EvalOrder", "TrainOrder"),
    "raw_text": ("RawText",),
    "reading.sources": ("read",),
    "tasks": ("Headline", "Instruction", "Summarisation", "Task", "Translation"),
}

__all__ = [
    "Conversation",
    "CorpusDataModule",
    "EvalOrder",
    "Headline",
    "Instruction",
    "RawText",
    "Summarisation",
    "Task",
    "TrainOrder",
    "Translation",
    "read",
]


def __getattr__(name: str) -> object:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
