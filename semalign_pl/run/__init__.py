"""Life of a run: start or resume, the lock of its folder, its history and kept steps, signals, results, records."""
