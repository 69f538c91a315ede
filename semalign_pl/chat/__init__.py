"""Chat templates: prompts and answers to token ids, without weights."""
