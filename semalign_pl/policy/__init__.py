"""The language model being trained: loading, prompting, sampling, scoring, and its adapter on disk."""
