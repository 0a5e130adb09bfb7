"""Which of several trials beats another, by one objective or several."""

from collections.abc import Sequence

Losses = tuple[float, ...]
"""Objectives, with their signs turned so that less is better."""


def losses(values: Sequence[float], lower: Sequence[bool]) -> Losses:
    """The losses of objectives, of which `lower` says whether less is better."""
    return tuple(value if less else -value for value, less in zip(values, lower, strict=True))


def beats(one: Losses, other: Losses) -> bool:
    """Whether losses are as small in everything and smaller in something: Pareto dominance."""
    return one != other and all(a <= b for a, b in zip(one, other, strict=True))
