"""Will it fit? Peak memory of a run, predicted on the meta device without loading a weight."""

from semalign_pl.plan.predict import Plan, predict

__all__ = ["Plan", "predict"]
