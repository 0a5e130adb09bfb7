"""Who the people are: names by a bijection and values by hashing, so that person i is the same for
every number of people.

E people or exposures.
"""

import math

import numpy as np
import numpy.typing as npt

from scalelab.data.hashing import words
from scalelab.tasks.biography import pools

Ids = npt.NDArray[np.int64]

_ROUNDS = 4


def shuffled(
    index_E: Ids, size: int, seed: int, *names: str | int, turn_E: Ids | None = None
) -> Ids:
    """Where a permutation of the numbers below `size` takes each index; every `turn` has a
    permutation of its own.

    A Feistel network on the rectangle that just holds them; what falls outside goes round again.
    """
    high = math.isqrt(size - 1) + 1
    low = -(-size // high)
    place_E, going = index_E.copy(), np.arange(len(index_E))
    key_E = np.zeros_like(index_E) if turn_E is None else turn_E << 32
    while len(going):
        upper, lower = np.divmod(place_E[going], low)
        for half in range(_ROUNDS):
            upper = (upper + _below(high, seed, *names, 2 * half, at=lower + key_E[going])) % high
            lower = (lower + _below(low, seed, *names, 2 * half + 1, at=upper + key_E[going])) % low
        place_E[going] = upper * low + lower
        going = going[place_E[going] >= size]
    return place_E


def _below(size: int, seed: int, *names: str | int, at: npt.NDArray[np.integer]) -> Ids:
    return (words(seed, *names, at=at) % np.uint64(size)).astype(np.int64)


def names(person_E: Ids, world: int) -> tuple[Ids, Ids, Ids]:
    """Places of the first, middle and last name in their pools; no two people share all three."""
    place = shuffled(person_E, pools.NAMES, world, "biography", "name")
    rest, last = np.divmod(place, len(pools.LAST_NAMES))
    return *np.divmod(rest, len(pools.MIDDLE_NAMES)), last


def value(person_E: Ids, attribute: str, world: int) -> Ids:
    """Place of each person's value in the attribute's pool: uniform and independent."""
    return drawn(person_E, pools.ATTRIBUTES[attribute], world, attribute)


def drawn(counter_E: Ids, size: int, world: int, *names: str | int) -> Ids:
    """A uniform number below `size` for each counter."""
    return _below(size, world, "biography", *names, at=counter_E)
