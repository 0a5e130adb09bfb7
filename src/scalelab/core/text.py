"""Text that people give: is it text at all, and how much of it fits into a sentence."""

from collections.abc import Iterable

from scalelab.core.errors import UserError

SHOWN = 80
"""Most characters of a text that a sentence repeats."""


def shown(text: str, most: int = SHOWN) -> str:
    """A text as it may stand in a sentence: what cannot be printed as an escape, what is long cut
    off.
    """
    letters = [one if one.isprintable() else _escaped(one) for one in text[:most]]
    return "".join(letters) + ("..." if len(text) > most else "")


def _escaped(letter: str) -> str:
    """`\\n`, `\\x1b`, and `\\xff` for a byte that Python holds as a surrogate (PEP 383)."""
    if "\udc80" <= letter <= "\udcff":
        return f"\\x{ord(letter) - 0xDC00:02x}"
    return letter.encode("unicode_escape").decode()


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
                f"argument {number}, `{shown(argument)}`, is not UTF-8",
                cure="write it in UTF-8; a file of such a name has to be renamed",
            )
