"""Policy: loading, chat templates, sampling, log-probs, and the adapter on disk."""
