"""Evaluation: what a trained model recalls, and how many bits it has learned."""

from scalelab.evaluate.recall import RecallTest

__all__ = ["RecallTest"]
