"""Frontiers: points of a system tested in one process, curves of quality against general ability lost, verdicts."""
