"""Probes: callbacks that measure the loss of general ability, during training and in a test."""

from semalign_pl.probes.base import Probe
from semalign_pl.probes.drift import DriftProbe
from semalign_pl.probes.forward_kl import ForwardKLProbe
from semalign_pl.probes.generation import GenerationProbe
from semalign_pl.probes.instruction import InstructionProbe
from semalign_pl.probes.lm_eval_probe import LMEvalProbe
from semalign_pl.probes.multiple_choice import MultipleChoiceProbe
from semalign_pl.probes.reading_comprehension import ReadingComprehensionProbe
from semalign_pl.probes.translation import TranslationProbe

__all__ = [
    "DriftProbe",
    "ForwardKLProbe",
    "GenerationProbe",
    "InstructionProbe",
    "LMEvalProbe",
    "MultipleChoiceProbe",
    "Probe",
    "ReadingComprehensionProbe",
    "TranslationProbe",
]
