"""The folder of a run: where it begins, its lock, its history, its signals, its results."""
