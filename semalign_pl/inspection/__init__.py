"""Statistics of a corpus, to read before training on it: ``semalign corpus``.

Every number is exact and counted in one pass. Only a few example texts are kept in memory.
"""
