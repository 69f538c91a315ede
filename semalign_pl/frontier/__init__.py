"""Frontiers: quality against general ability lost, at many points of a system."""
