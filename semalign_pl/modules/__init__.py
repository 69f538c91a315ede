"""The LightningModules: what both stages share, and one file a stage."""

from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.grpo import GRPOModule
from semalign_pl.modules.schedule import Constant, Cosine
from semalign_pl.modules.sft import SFTModule

__all__ = ["AlignModule", "Constant", "Cosine", "GRPOModule", "SFTModule"]
