"""The embedded default: a miniature Chinese-Tibetan world with its tokenizer, base model and sentence encoder."""
