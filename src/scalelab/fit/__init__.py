"""Scaling laws and capacity: numbers from frames of trials, whether run here or imported."""
