"""Callbacks around a run: evaluation and results, adapter export, the table of samples."""

from semalign_pl.callbacks.adapter_export import AdapterExport
from semalign_pl.callbacks.evaluation import Evaluation
from semalign_pl.callbacks.interruption import InterruptionCheckpoint
from semalign_pl.callbacks.sample_table import SampleTable

__all__ = ["AdapterExport", "Evaluation", "InterruptionCheckpoint", "SampleTable"]
