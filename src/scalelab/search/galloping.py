"""The smallest size that passes: where to begin, gallop, bisect, and look once more below."""

from collections.abc import Collection, Generator, Sequence
from itertools import chain, count
from typing import TypeVar

Size = TypeVar("Size")


def guess(answers: Sequence[int]) -> int:
    """Where a cell's search begins: at the answer before it, or where answers move away fast, as
    much further.

    The search tries the guess and then its neighbour, so that a move of one size up needs no
    foresight. The smaller of the last two moves is taken: one noisy answer then moves no guess.
    Where the last two moves go opposite ways, answers are noisy, and the search begins at the lower
    of the last two: from below it finds the smallest of sizes that pass here and there.
    """
    if len(answers) < 3:
        return answers[-1] if answers else 0
    before, last = answers[-2] - answers[-3], answers[-1] - answers[-2]
    if before * last < 0:
        return min(answers[-2:])
    drift = min(before, last)
    return answers[-1] + (drift if drift > 1 else 0)


def smallest_passing(sizes: Sequence[Size], start: int) -> Generator[Size, bool, int]:
    """Yields sizes to try, is sent whether each passes, returns the index of the smallest passing
    one; `len(sizes)` if none.

    Begins at index `start`; no size is yielded twice. Where passing is monotone in size the answer
    is exact; else it is a size that passes while the one below it fails.
    """
    fails, passes = -1, len(sizes)
    # 1, 1, 1, 2, 4, 8, ...: most answers lie within three sizes of the guess.
    strides = chain((1, 1), (2**power for power in count()))
    index = min(start, len(sizes) - 1)
    upwards = not (yield sizes[index])
    # Gallop away from the guess, up from a failure or down from a pass, until the result turns.
    while True:
        fails, passes = (index, passes) if upwards else (fails, index)
        step = next(strides)
        index = min(index + step, len(sizes) - 1) if upwards else index - step
        if not fails < index < passes:
            break
        if (yield sizes[index]) == upwards:
            fails, passes = (fails, index) if upwards else (index, passes)
            break
    while passes - fails > 1:
        middle = (fails + passes) // 2
        if (yield sizes[middle]):
            passes = middle
        else:
            fails = middle
    return passes


def smaller_passing(
    sizes: Sequence[Size], answer: int, tried: Collection[int], likely: Sequence[int]
) -> Generator[Size, bool, int]:
    """Yields sizes below the index `answer`, is sent whether each passes, returns the index of the
    smallest passing one; `answer` if none.

    Tries the `likely` indices, ascending, until one passes; from there down until one fails. No
    size is yielded twice, and none that was `tried`: below `answer`, these failed.
    """
    failed = set(tried)
    for index in likely:
        if index >= answer:
            break
        if index in failed:
            continue
        if (yield sizes[index]):
            while index > 0 and index - 1 not in failed and (yield sizes[index - 1]):
                index -= 1
            return index
        failed.add(index)
    return answer
