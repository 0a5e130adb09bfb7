"""Figures from what is stored: one self-contained page each, with its numbers as JSON beside it.

Nothing is run here.
"""

from scalelab.report.drawing import check, draw, draw_all, with_data

__all__ = ["check", "draw", "draw_all", "with_data"]
