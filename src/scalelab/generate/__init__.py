"""Decoding: greedy, in lanes, with tool calls."""

from scalelab.generate.greedy import Cache, Decoder, greedy

__all__ = ["Cache", "Decoder", "greedy"]
