"""Decoding: sampling in lanes, with a cache or without; gaps filled."""

from scalelab.generate.filling import fill
from scalelab.generate.lanes import compiled_step
from scalelab.generate.sampling import GREEDY, Sampling
from scalelab.generate.speed import decoding_speed
from scalelab.generate.streaming import Continuation, Piece, stream, whole
from scalelab.generate.vocabulary import Vocabulary

__all__ = [
    "GREEDY",
    "Continuation",
    "Piece",
    "Sampling",
    "Vocabulary",
    "compiled_step",
    "decoding_speed",
    "fill",
    "stream",
    "whole",
]
