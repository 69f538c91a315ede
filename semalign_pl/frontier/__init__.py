"""Frontier of a system: its points (kept steps, end, scales of its adapter), tested in one process."""
