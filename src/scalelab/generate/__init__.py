"""Decoding: sampling in lanes, with a cache or without; greedy, with tool calls."""

from scalelab.generate.greedy import Cache, Decoder, greedy
from scalelab.generate.lanes import compiled_step
from scalelab.generate.sampling import GREEDY, Sampling
from scalelab.generate.speed import decoding_speed
from scalelab.generate.streaming import Continuation, Piece, stream, whole
from scalelab.generate.vocabulary import Vocabulary, vocabulary

__all__ = [
    "GREEDY",
    "Cache",
    "Continuation",
    "Decoder",
    "Piece",
    "Sampling",
    "Vocabulary",
    "compiled_step",
    "decoding_speed",
    "greedy",
    "stream",
    "vocabulary",
    "whole",
]
