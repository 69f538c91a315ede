"""``semalign init``: from a file of pairs to a folder of data and recipes."""
