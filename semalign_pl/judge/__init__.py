"""Pairwise judgements of two systems' answers, by language models and by people."""
