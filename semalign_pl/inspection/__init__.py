"""What a corpus is made of, before anything is trained on it: ``semalign corpus``.

Every number is counted exactly in one pass, and no text is held but a few examples.
"""
