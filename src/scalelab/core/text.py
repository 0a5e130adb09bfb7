"""Text that people give: whether it is text at all, and its beginning."""

from collections.abc import Iterable

from scalelab.core.errors import UserError


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
