"""Decoding: one engine of lanes, with a cache or without, and gaps that are filled."""

from scalelab.generate.completing import complete
from scalelab.generate.filling import fill
from scalelab.generate.lanes import compiled_step
from scalelab.generate.sampling import GREEDY, Sampling
from scalelab.generate.speed import decoding_speed
from scalelab.generate.streaming import Continuation, Piece, stream, whole
from scalelab.generate.vocabulary import Tool, Vocabulary

__all__ = [
    "GREEDY",
    "Continuation",
    "Piece",
    "Sampling",
    "Tool",
    "Vocabulary",
    "compiled_step",
    "complete",
    "decoding_speed",
    "fill",
    "stream",
    "whole",
]
