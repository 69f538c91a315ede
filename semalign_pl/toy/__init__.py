"""Toy world, embedded as the default: a miniature Chinese-Tibetan world with tokenizer, base model and encoder."""
