"""Random numbers as a pure function of a key and a counter: the same on every machine and in every
version of numpy.
"""

import numpy as np
import numpy.typing as npt

from scalelab.core.seeds import derive

Words = npt.NDArray[np.uint64]


def mix(words: Words) -> Words:
    """The finaliser of SplitMix64 (Steele, Lea, Flood 2014), a bijection on 64-bit words."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))


def words(seed: int, *names: str | int, at: npt.NDArray[np.integer]) -> Words:
    """A uniform 64-bit word for each counter in `at`, of the stream that `seed` and
    `names` name.
    """
    key = np.uint64(derive(seed, *names))
    return mix(mix(at.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + key) ^ key)
