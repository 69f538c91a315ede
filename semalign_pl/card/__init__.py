"""Model card of a run, from what its folder says."""
