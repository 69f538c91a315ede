"""Predict a run's peak memory on the meta device, without loading weights."""
