"""Predict a run's peak memory on the meta device, without loading weights."""

from semalign_pl.plan.predict import predict
from semalign_pl.plan.settings import Plan, Settings

__all__ = ["Plan", "Settings", "predict"]
