"""Judgements of native readers: one offline page, and the answers that it exports."""
