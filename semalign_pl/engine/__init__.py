"""Shared-prompt engine: packed batches, KV cache, log-probs, chunked head, and the fallback of other models."""
