"""Use of a finished run: translate files, a conversation in the terminal, and a page that compares adapters."""
