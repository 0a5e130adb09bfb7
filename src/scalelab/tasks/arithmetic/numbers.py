"""Numbers of any length as arrays of digits, the last digit first, so that no sum or product
overflows.

R numbers, N digits of the longest; what lies beyond a number's own digits is 0.
"""

import numpy as np
import numpy.typing as npt

from scalelab.data.hashing import Words, words

Ids = npt.NDArray[np.int64]

MOST = 100
"""Most digits of a number, or operations of a chain."""


def symbols(kinds: int, counter_R: Ids, width: int, seed: int, *names: str | int) -> Ids:
    """Uniform numbers below `kinds`, [R, width]: the same for a counter whatever the width is."""
    at = counter_R[:, None] * (MOST + 1) + np.arange(width)
    return (words(seed, *names, at=at) % np.uint64(kinds)).astype(np.int64)


def drawn(length_R: Ids, counter_R: Ids, width: int, seed: int, *names: str | int) -> Ids:
    """Uniform numbers of exactly so many digits, [R, N]: none begins with 0, but for 0 itself."""
    column_N, length_R1 = np.arange(width), length_R[:, None]
    digit_RN = symbols(10, counter_R, width, seed, *names, "digit")
    first_R = 1 + symbols(9, counter_R, 1, seed, *names, "first")
    digit_RN = np.where((column_N == length_R1 - 1) & (length_R1 > 1), first_R, digit_RN)
    return np.where(column_N < length_R1, digit_RN, 0)


def total(a_RN: Ids, b_RN: Ids) -> Ids:
    """Sums, [R, N + 1]."""
    return _carried(np.pad(a_RN + b_RN, ((0, 0), (0, 1))))


def product(a_RN: Ids, b_RN: Ids) -> Ids:
    """Products, [R, 2N]."""
    width = a_RN.shape[1]
    column_R2N = np.zeros((len(a_RN), 2 * width), np.int64)
    for place in range(width):
        column_R2N[:, place : place + width] += a_RN[:, place, None] * b_RN
    return _carried(column_R2N)


def _carried(column_RN: Ids) -> Ids:
    """Columns of any size as digits; the last one has no carry."""
    carry_R = np.zeros(len(column_RN), np.int64)
    for place in range(column_RN.shape[1]):
        carry_R, column_RN[:, place] = np.divmod(column_RN[:, place] + carry_R, 10)
    return column_RN


def length(digit_RN: Ids) -> Ids:
    """Digits of each number, at least one, [R]."""
    any_RN = digit_RN[:, ::-1] != 0
    return np.where(any_RN.any(1), digit_RN.shape[1] - any_RN.argmax(1), 1)


def value(digit_RN: Ids, base: int = 10) -> Words:
    """The numbers themselves, modulo 2^64, [R]."""
    place_N = np.cumprod(np.array([1, *[base] * (digit_RN.shape[1] - 1)], np.uint64))
    return (digit_RN.astype(np.uint64) * place_N).sum(1, dtype=np.uint64)
