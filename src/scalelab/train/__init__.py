"""Training: the loop and what it is made of."""

from scalelab.train.loop import train

__all__ = ["train"]
