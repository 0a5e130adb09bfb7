"""Errors that a user can act on: one sentence that says where, what, and the cure."""

import copy
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, Self


class UserError(ValueError):
    """The user's input is wrong: the command prints the sentence and ends with exit code 2.

    `where` is `file`, `file:line` or empty; `cure` says what to do about it. `paths` are the spec
    paths that it is about, where it is not about the one value that is checked.
    """

    def __init__(
        self, what: str, *, cure: str = "", where: str = "", paths: Sequence[str] = ()
    ) -> None:
        super().__init__(what)
        self.what, self.cure, self.where, self.paths = what, cure, where, tuple(paths)

    def __str__(self) -> str:
        """The sentence on one line, without the middle of what is too long in it."""
        place = f"{shortened(printable(self.where), LONGEST['where'])}: " if self.where else ""
        cure = f"; {_brief(self.cure, LONGEST['cure'])}" if self.cure else ""
        return f"{place}{_brief(self.what, LONGEST['what'])}{cure}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled by its fields: the arguments of a subclass may be others."""
        return ValueError.__new__, (type(self), *self.args), self.__dict__

    def at(self, where: str, *, about: str = "", cure: str = "") -> Self:
        """The same error with its place filled in (an inner, more exact place wins), `about` before
        what it says, and `cure` where it has none.
        """
        placed = copy.copy(self)
        placed.what = f"{about}{self.what}"
        placed.cure, placed.where = self.cure or cure, self.where or where
        return placed


class Unreadable(UserError):
    """What trials read is missing or damaged: none that needs it can be run.

    `home` is the folder of the prepared corpus to which it belongs, if that can be prepared here.
    """

    def __init__(self, what: str, *, cure: str = "", where: str = "", home: str = "") -> None:
        super().__init__(what, cure=cure, where=where)
        self.home = home


LONGEST_WORD = 200
"""Characters of a word in an error."""

LONGEST = {"where": 300, "what": 400, "cure": 600}
"""Characters of the parts of an error: a cure may list names, and a path lead to a deep folder."""

_WORD = re.compile(rf"\S{{{LONGEST_WORD + 1},}}")


def printable(text: str) -> str:
    """The text with control characters escaped: a terminal obeys them."""
    return "".join(one if one.isprintable() else _escaped(one) for one in text)


def _escaped(letter: str) -> str:
    """`\\n`, `\\x1b`, and `\\xff` for a byte that Python holds as a surrogate (PEP 383)."""
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return ascii(letter)[1:-1]


def shortened(text: str, most: int) -> str:
    """The text, where it is longer than `most` without its middle."""
    if len(text) <= most:
        return text
    left_out = f" ... ({len(text):,} characters) ... "
    end = (most - len(left_out)) // 3
    return f"{text[: most - len(left_out) - end]}{left_out}{text[-end:]}"


def _brief(sentence: str, most: int) -> str:
    words = _WORD.sub(lambda word: shortened(word[0], LONGEST_WORD), printable(sentence))
    return shortened(words, most)


def reason(error: OSError) -> str:
    """What the operating system says of an error, to stand within a sentence."""
    # Libraries raise OSErrors of their own that have a text alone, over several lines at times.
    lines = (error.strerror or str(error)).strip().splitlines()
    what = lines[0] if lines else type(error).__name__
    return f"{what[:1].lower()}{what[1:]}"


SHOWN = 12
"""How many known words a cure names."""


def nearest(word: str, known: list[str]) -> str:
    """A cure that names the nearest known word, or the first of them where none is near."""
    close = get_close_matches(word, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean `{close[0]}`?"
    shown = ", ".join(f"`{name}`" for name in sorted(known)[:SHOWN])
    return f"known are {shown}" + (f" and {len(known) - SHOWN} more" if len(known) > SHOWN else "")
