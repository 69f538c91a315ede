"""The LightningModules: what all stages share, what those of a policy share, and one file a stage."""

from semalign_pl.modules.base import AlignModule
from semalign_pl.modules.embedder import EmbedderModule
from semalign_pl.modules.grpo import GRPOModule
from semalign_pl.modules.schedule import Constant, Cosine
from semalign_pl.modules.sft import SFTModule
from semalign_pl.modules.stage import StageModule

__all__ = ["AlignModule", "Constant", "Cosine", "EmbedderModule", "GRPOModule", "SFTModule", "StageModule"]
