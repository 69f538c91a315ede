"""``semalign export``: adapters, merged models and GGUF files, with a model card, on disk and on the hub."""
