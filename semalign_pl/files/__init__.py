"""Reading and writing files: atomic writes, size limits, and errors explained in one line."""
