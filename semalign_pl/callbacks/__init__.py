"""Callbacks of a run: checkpoints, kept steps, evaluation, export, completions, alarms, budget of lost ability."""

from semalign_pl.callbacks.checkpoint import TimedCheckpoint
from semalign_pl.callbacks.corpus_report import CorpusReport
from semalign_pl.callbacks.divergence import Divergence
from semalign_pl.callbacks.evaluation import Evaluation
from semalign_pl.callbacks.export import Export
from semalign_pl.callbacks.frontier_score import FrontierScore
from semalign_pl.callbacks.interruption import InterruptionCheckpoint
from semalign_pl.callbacks.keep_steps import KeepSteps
from semalign_pl.callbacks.reward_signal import RewardSignal
from semalign_pl.callbacks.reward_watch import RewardWatch
from semalign_pl.callbacks.sample_table import SampleTable
from semalign_pl.callbacks.tax_budget import TaxBudget

__all__ = [
    "CorpusReport",
    "Divergence",
    "Evaluation",
    "Export",
    "FrontierScore",
    "InterruptionCheckpoint",
    "KeepSteps",
    "RewardSignal",
    "RewardWatch",
    "SampleTable",
    "TaxBudget",
    "TimedCheckpoint",
]
