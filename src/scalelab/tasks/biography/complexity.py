"""Bit complexity: how many bits about its people a model is known to hold (Allen-Zhu and Li 2024,
arXiv 2404.05405).

Definitions 4.1 (bioD) and 4.3 (bioS), before they are divided by the parameters. N people out of N0
names; S0 is the product of the pools of all attributes; K attributes of C chunks, each one of D
strings of L symbols out of T. No result is clipped: a model that is worse than one that draws from
the right pools has negative bits.

Definition 4.1 takes all K D strings of the diversity sets to be learned. Here only those count that
some person's value shows (all of them where there are many more people than strings): of the others
the data say nothing. An attribute's N C strings, m of which are distinct, then count as N C log2 D
+ m log2(T^L / D) bits, which is no more than what they hold: they come up with a probability of
D^-(N C) times the product of (D - j) / (T^L - j) for j = 0 to m - 1, and no factor of the product
is above D / T^L.
"""

import math
from dataclasses import dataclass

from scalelab.tasks.biography.sizes import BitPools
from scalelab.tasks.biography.spec import BioD


@dataclass(frozen=True)
class Nats:
    """Mean losses of a model; each is a sum over the tokens of its piece, in nats."""

    name: float
    """p1: of a person's name, after EOS."""
    value: float
    """p2: of a person's values together (bioS: dates, places and the pronoun), or of one
    attribute's value (bioD).
    """
    first: float | None = None
    """p3: of the first chunk of a value (bioD)."""


def learned(pools: BitPools, nats: Nats) -> float:
    """Bits learned: N log2(N0 / e^p1) + N log2(S0 / e^p2); for bioD the values count K times, and
    the strings of their sets too.
    """
    people, name = pools.people, pools.name_bits - nats.name / math.log(2)
    values = sum(pools.value_bits.values()) - nats.value / math.log(2) * (
        1 if pools.sets is None else pools.sets.attributes
    )
    if pools.sets is None:
        return people * (name + values)
    assert nats.first is not None, "bioD counts the first chunk"
    return (
        people * (name + values)
        + _sets(pools.sets, pools.strings)
        - pools.strings * nats.first / math.log(2)
    )


def most(pools: BitPools) -> float:
    """Bits that there are to learn: those of a model that knows who there is and all of their
    values (p1 = ln N, p2 = p3 = 0).
    """
    return learned(pools, Nats(name=math.log(pools.people), value=0.0, first=0.0))


def _sets(sets: BioD, strings: int) -> float:
    """Bits of so many strings of the diversity sets, each log2(T^L / D)."""
    return strings * (sets.length * math.log2(sets.alphabet) - math.log2(sets.diversity))
