"""Corpora as batches of examples: sources, tasks, row order, and the data module."""

from semalign_pl.data.conversation import Conversation
from semalign_pl.data.corpus import CorpusDataModule
from semalign_pl.data.order import EvalOrder, TrainOrder
from semalign_pl.data.reading.sources import read
from semalign_pl.data.tasks import Headline, Instruction, Summarisation, Task, Translation

__all__ = [
    "Conversation",
    "CorpusDataModule",
    "EvalOrder",
    "Headline",
    "Instruction",
    "Summarisation",
    "Task",
    "TrainOrder",
    "Translation",
    "read",
]
