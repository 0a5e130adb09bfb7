"""Misspelt names of metrics."""

import re
from collections.abc import Iterable

from scalelab.core.metrics import CATALOGUE, is_known

_WORDS = sorted(
    {
        word
        for known in CATALOGUE
        if known.unit
        for word in re.findall(r"[a-z]{4,}", re.sub(r"\{\w+\}", "", known.pattern))
    }
)
_SHORT = {"parameter": "param", "parameters": "param"}
"""Words that metrics abbreviate."""


def misspelt(name: str, reported: Iterable[str]) -> str | None:
    """The metric that a name is nearly, one of the `reported` or of the catalogue; None for one
    that is known, or like none of them.
    """
    words = [_SHORT.get(word, word) for word in re.split("[_ -]", name.lower())]
    own = sorted(reported)
    if name in own:
        return None
    for known in own:
        parts = known.split("_")
        are_near = len(words) == len(parts) and all(map(_is_near, words, parts))
        if are_near or "".join(words) == "".join(parts):
            return known
    if is_known(name):
        return None
    near = "_".join(
        next((known for known in _WORDS if _is_near(word, known)), word) for word in words
    )
    return near if near != name and is_known(near) else None


def _is_near(word: str, known: str) -> bool:
    """Whether a word is another one, or a misspelling of it.

    A plural is a word of its own, and so is what begins with another letter or has a number in it:
    `bits_per_bytes`, `recall_seen`, `accuracy_10`.
    """
    if word == known:
        return True
    plural = f"{known}es" if known.endswith("s") else f"{known}s"
    if word == plural or word[:1] != known[:1] or not (word + known).isalpha():
        return False
    return _distance(word, known) <= (1 if len(known) < 8 else 2)


def _distance(first: str, second: str) -> int:
    """Letters to insert, to delete or to swap with the next one: a letter in the place of another
    one counts twice, as it often makes another word (`text_loss`, `change`).
    """
    before, row = [], list(range(len(second) + 1))
    for i, letter in enumerate(first, 1):
        above, before, row = before, row, [i]
        for j, other in enumerate(second, 1):
            best = before[j - 1] if letter == other else 1 + min(before[j], row[j - 1])
            if i > 1 and j > 1 and first[i - 2 : i] == other + second[j - 2]:
                best = min(best, above[j - 2] + 1)
            row.append(best)
    return row[-1]
