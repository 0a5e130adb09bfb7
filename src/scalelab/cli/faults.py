"""Faults of the machine that scalelab runs on, which are not faults of scalelab: a full disk, a
missing permission, a folder that has been deleted.

They come from anywhere, as the operating system's own errors; whoever knows more about one raises a
UserError where it happens.
"""

import errno
import os
import sys
import traceback

from scalelab.core.errors import UserError, reason
from scalelab.core.secrets import masked

UNEXPECTED = 70
"""The exit code of a fault that is not the user's (EX_SOFTWARE of sysexits.h)."""

_ROOM = "make room and run the same command again"
_RIGHTS = "check its permissions, or name another place"
_NETWORK = "check the host and its port"
_FILES = "raise the limit of open files with `ulimit -n 4096`"

CURES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise the limit of a file's size with `ulimit -f unlimited`",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: "name a place that you may write to",
    errno.ENOENT: "check its name",
    errno.ENOTDIR: "name a folder",
    errno.EISDIR: "name a file",
    errno.EEXIST: "name another place",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ELOOP: "check its symbolic links",
    errno.EMFILE: _FILES,
    errno.ENFILE: _FILES,
    errno.EIO: "check the disk that it lies on",
    errno.ESTALE: "check the disk that it lies on",
    errno.ENXIO: "name a file",
    errno.ENODEV: "name a file",
    errno.EBUSY: "end the program that uses it",
    errno.ETXTBSY: "end the program that uses it",
    errno.ENOMEM: "end other programs, or make the models or the batch smaller",
    errno.EAGAIN: "raise the limit of processes with `ulimit -u`",
    errno.EADDRINUSE: "end the program that uses the port",
    errno.EADDRNOTAVAIL: _NETWORK,
    errno.ECONNREFUSED: _NETWORK,
    errno.ECONNRESET: _NETWORK,
    errno.ECONNABORTED: _NETWORK,
    errno.EHOSTUNREACH: _NETWORK,
    errno.ENETUNREACH: _NETWORK,
    errno.ETIMEDOUT: _NETWORK,
    errno.EPIPE: _NETWORK,
}
"""What to do about an error of the operating system, by its number."""


def print_error(error: BaseException, about: str = "") -> int:
    """Print an error on stderr in a sentence, under --debug after its traceback; gives the exit
    code that it asks for.
    """
    print_traceback(error)
    print(masked(f"error: {about}{as_user_error(error)}"), file=sys.stderr)
    return UNEXPECTED if explained(error) is None else 2


def as_user_error(error: BaseException) -> UserError:
    """The error as a sentence; one that is not explained is a bug."""
    cure = "this should not happen: see where with `scalelab --debug ...`, and report it"
    return explained(error) or UserError(f"{type(error).__name__}: {error}", cure=cure)


def print_traceback(error: BaseException) -> None:
    """Print an error's traceback on stderr under --debug."""
    if os.environ.get("SCALELAB_DEBUG"):
        print(masked("".join(traceback.format_exception(error))), end="", file=sys.stderr)


def explained(error: BaseException) -> UserError | None:
    """The error as a sentence with a cure; None where it may be a fault of scalelab."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError):
        cure = CURES.get(error.errno or 0)
        if cure is None:
            return None
        return UserError(reason(error), cure=cure, where=_name(error.filename))
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return UserError("there is not enough memory", cure=CURES[errno.ENOMEM])
    if isinstance(error, RecursionError):
        return UserError("the input is nested too deeply", cure="nest it less")
    # These letters stand for bytes that are no UTF-8, as in a file's name.
    if isinstance(error, UnicodeEncodeError) and any(
        "\udc80" <= letter <= "\udcff" for letter in error.object
    ):
        name = error.object.encode("utf-8", "backslashreplace").decode()
        return UserError(f"`{name[:80]}` is not valid UTF-8", cure="write it in UTF-8")
    if isinstance(error, UnicodeDecodeError):
        what = f"byte {error.start + 1} of the input is not valid {error.encoding}"
        return UserError(what, cure="save it as UTF-8")
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return UserError("no more threads can be started", cure=CURES[errno.EAGAIN])
    return None


def _name(path: object) -> str:
    """A file's name as the operating system gives it, which may be a number or bytes."""
    return "" if path is None else os.fsdecode(path) if isinstance(path, bytes) else str(path)
