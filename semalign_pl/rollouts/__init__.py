"""Completions from an inference server instead of the policy itself."""

from semalign_pl.rollouts.server import ServerRollouts

__all__ = ["ServerRollouts"]
