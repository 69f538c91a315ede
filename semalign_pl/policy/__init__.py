"""Policy: loading of bases and adapters, new tokens, and the adapter on disk."""
