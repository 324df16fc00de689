"""Measurements, run by hand: what is fast, and what must take the same time as something else."""
