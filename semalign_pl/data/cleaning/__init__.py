"""Cleaning: filters, duplicates and leaks of a corpus before training."""
