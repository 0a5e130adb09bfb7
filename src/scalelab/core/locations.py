"""Places that people name: paths, in which `~` and `$NAME` are expanded, and URLs, which stay."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from scalelab.core.errors import Unreadable, UserError
from scalelab.core.secrets import masked, without_masks
from scalelab.core.text import is_text

LONGEST_NAME, LONGEST = 255, 4096
"""Most bytes of a file's name and of a path on the file systems in use (NAME_MAX, PATH_MAX)."""

_VARIABLE = re.compile(r"\$(?:(\$)|([A-Za-z_]\w*)|\{([^{}]*)\})")


def is_url(place: str) -> bool:
    """Whether a place is a URL (`s3://bucket/folder`, `data:...`), and no path."""
    return "://" in place or is_embedded(place)


def is_missing(place: str) -> bool:
    """Whether a place is a path with nothing there; what is at a URL only its host knows."""
    return not is_url(place) and not Path(place).exists()


def local_path(place: str) -> str | None:
    """The path that a path or a `file://` URL names on this machine; None for any other URL."""
    path = place.removeprefix("file://")
    return None if is_url(path) else path


def child(folder: str, name: str) -> str:
    """What is called `name` in a folder, a path or URL."""
    return f"{folder.rstrip('/')}/{name}"


def split(place: str) -> tuple[str, str]:
    """The folder that a path or URL lies in, `.` where it names none, and its name in it."""
    folder, slash, name = place.rpartition("/")
    return folder or slash or ".", name


DATA = "data:"
"""How the URL of a text begins that stands in the URL itself (RFC 2397)."""


def is_embedded(place: str) -> bool:
    """Whether a place is a text itself, as a `data:` URL."""
    return place.startswith(DATA)


def embedded_text(place: str) -> str:
    """The text of a `data:` URL."""
    return unquote(place.partition(",")[2])


def file_system(place: str) -> tuple[Any, str]:
    """The fsspec file system of a path or URL, and the path in it.

    Credentials that were not kept with a place come from the environment, as its client finds them.
    Raises Unreadable where access is refused.
    """
    import fsspec

    with access(place):
        return fsspec.url_to_fs(without_masks(place))


@contextmanager
def access(place: str) -> Iterator[None]:
    """Inside, a refusal for want of credentials is raised as Unreadable, with the cure."""
    try:
        yield
    except Exception as error:
        protocol = place.partition(":")[0].lower()
        if not is_url(place) or protocol in ("file", "local") or not _is_refusal(error):
            raise
        cure = CREDENTIALS.get(protocol)
        own = f"set FSSPEC_{protocol.upper()}_PASSWORD, or what else its client asks for"
        what = f"access is refused ({type(error).__name__})"
        raise Unreadable(what, cure=cure or own, where=masked(place)) from error


CREDENTIALS = {
    **dict.fromkeys(("sftp", "ssh"), "set FSSPEC_SFTP_PASSWORD, or use an SSH key"),
    **dict.fromkeys(("s3", "s3a"), "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    **dict.fromkeys(("gs", "gcs"), "set GOOGLE_APPLICATION_CREDENTIALS"),
    **dict.fromkeys(("az", "abfs"), "set AZURE_STORAGE_CONNECTION_STRING"),
}
"""How the clients of URLs get their credentials; docs/places.md tells of them."""


def _is_refusal(error: Exception) -> bool:
    if isinstance(error, PermissionError) or getattr(error, "status", None) in (401, 403):
        return True
    name = type(error).__name__
    return "Auth" in name or "Credential" in name or "uthenticat" in str(error)


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
