"""Text that people or models give: whether it is text at all, its beginning, and how a terminal
can show it.
"""

import unicodedata
from collections.abc import Iterable

from scalelab.core.errors import UserError

_FORMATS = {
    "\u200b",
    "\u200e",
    "\u200f",
    "\ufeff",
    *map(chr, range(0x202A, 0x202F)),
    *map(chr, range(0x2060, 0x206A)),
}
"""Characters that are not seen but change how others are shown, the order of writing among them."""


def beginning(text: str, most: int = 20) -> str:
    """The first characters of a text, for a sentence that has room for no more."""
    return text if len(text) <= most else f"{text[:most]}..."


def is_text(text: str) -> bool:
    """Whether a text can be written as UTF-8: Python holds bytes that are none as surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def check_arguments(arguments: Iterable[str]) -> None:
    """Raises UserError for an argument of a command line that is not UTF-8: it could be neither
    stored nor printed.
    """
    for number, argument in enumerate(arguments, 1):
        if not is_text(argument):
            raise UserError(
                f"argument {number}, `{argument}`, is not UTF-8",
                cure="write it in UTF-8; a file of such a name has to be renamed",
            )


def safe(text: str) -> str:
    """What a terminal would take as a command, or show out of order, as its code."""
    return "".join(
        _escaped(one)
        if one in _FORMATS or (unicodedata.category(one) == "Cc" and one not in "\n\t")
        else one
        for one in text
    )


def _escaped(one: str) -> str:
    return f"\\x{ord(one):02x}" if ord(one) < 0x100 else f"\\u{ord(one):04x}"
