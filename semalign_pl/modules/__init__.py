"""LightningModules: the base of all stages, the base of the policy stages, and one file per stage."""

from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.distill import DistillModule
from semalign_pl.modules.embedder import EmbedderModule
from semalign_pl.modules.grpo import GRPOModule
from semalign_pl.modules.schedule import Constant, Cosine
from semalign_pl.modules.sft import SFTModule
from semalign_pl.modules.stage import StageModule

__all__ = [
    "AlignModule",
    "Constant",
    "Cosine",
    "DistillModule",
    "EmbedderModule",
    "GRPOModule",
    "SFTModule",
    "StageModule",
]
