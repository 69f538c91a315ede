"""Readers: files and hub datasets to records, with an account of every line."""
