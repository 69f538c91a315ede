"""Frozen sentence encoder and the cached embeddings of a corpus."""
