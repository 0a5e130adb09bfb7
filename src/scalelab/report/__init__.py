"""Figures from what is stored: one self-contained page each, with its numbers as JSON beside it. Nothing is run here."""

from scalelab.report.drawing import check, draw, with_data

__all__ = ["check", "draw", "with_data"]
