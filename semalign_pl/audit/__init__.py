"""Audit of a recipe's rewards before training: ``semalign reward-check``."""
