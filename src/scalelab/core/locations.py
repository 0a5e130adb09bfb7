"""Places that people name: paths, in which `~` and `$NAME` are expanded, and URLs, which stay."""

import os
import re
from pathlib import Path

from scalelab.core.errors import UserError
from scalelab.core.text import is_text

LONGEST_NAME, LONGEST = 255, 4096
"""Most bytes of a file's name and of a path on the file systems in use (NAME_MAX, PATH_MAX)."""

_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([^{}]*)\})")


def is_url(place: str) -> bool:
    """Whether a place is a URL (`s3://bucket/folder`, `data:...`), and no path."""
    return "://" in place or place.startswith("data:")


def expanded(place: str, where: str = "") -> str:
    """A place as a user writes it, as the system wants it.

    In a path `~` and `~USER` at the beginning become a home folder, `$NAME` and `${NAME}` a
    variable of the environment, and `$$` a dollar sign. A URL stays as it is. Expand a place once:
    a folder's own name may have a dollar sign in it.

    Raises UserError, of `where`, for an unknown variable or home, and for what no file can be
    called.
    """
    try:
        return place if is_url(place) else _expanded(place)
    except UserError as error:
        raise error.at(where) from error


def expanded_path(place: str | Path, where: str = "") -> Path:
    """A path that a user writes, as `expanded` reads it."""
    return Path(expanded(str(place), where))


def _expanded(place: str) -> str:
    path = _home(_VARIABLE.sub(lambda match: _value(match, place), place), place)
    if not is_text(path) or "\0" in path:
        raise UserError(f"`{path}` is no path: it is not text in UTF-8", cure="rename the file")
    if len(os.fsencode(path)) >= LONGEST or any(
        len(os.fsencode(name)) > LONGEST_NAME for name in path.split("/")
    ):
        raise UserError(
            f"the path `{path}` is too long",
            cure=f"write at most {LONGEST_NAME} bytes for a name, and {LONGEST:,} in all",
        )
    return path


def _value(match: re.Match[str], place: str) -> str:
    if match[1]:
        return "$"
    name = match[2] or match[3]
    if name not in os.environ:
        raise UserError(
            f"the path `{place}` names the variable `${name}`, which is not set",
            cure="set it, or write $$ for a dollar sign",
        )
    return os.environ[name]


def _home(path: str, place: str) -> str:
    """The path with its leading `~` or `~USER` replaced."""
    if not path.startswith("~"):
        return path
    user = path.partition("/")[0][1:]
    if not user and not Path(os.environ.get("HOME", "/")).is_absolute():
        raise UserError(
            f"the path `{place}` is below this user's home folder, and $HOME is"
            f" `{os.environ['HOME']}`, which is no absolute path",
            cure="set HOME to the whole path of the folder, or write the path out",
        )
    # `expanduser` leaves what it does not know as it is.
    found = os.path.expanduser(f"~{user}") if is_text(path) and "\0" not in path else "~"  # noqa: PTH111
    if found.startswith("~"):
        whose = f"the user `{user}`" if user else "this user"
        raise UserError(
            f"the path `{place}` is below the home folder of {whose}, and there is none",
            cure="write the path out, or ./~ for a file of that name",
        )
    return found.rstrip("/") + path[1 + len(user) :] or "/"
