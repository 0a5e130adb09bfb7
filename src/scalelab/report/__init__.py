"""Figures from what is stored: one self-contained page each, with its numbers as JSON beside it.

Nothing is run here.
"""

from scalelab.report.drawing import Failure, Report, check, draw, draw_all, is_fault, with_data

__all__ = ["Failure", "Report", "check", "draw", "draw_all", "is_fault", "with_data"]
