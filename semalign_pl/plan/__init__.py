"""Will it fit? Peak memory of a run, predicted on the meta device without loading a weight."""

from semalign_pl.plan.predict import predict
from semalign_pl.plan.settings import Plan, Settings

__all__ = ["Plan", "Settings", "predict"]
