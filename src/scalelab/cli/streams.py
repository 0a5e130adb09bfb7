"""The standard streams, in whatever state a shell leaves them.

A line that cannot be printed is no reason to end in the middle of the work: a stream that fails
once is written to no more, the command runs to its end, and `main` then reports what was lost. A
stream that the shell has closed (`>&-`) behaves like /dev/null.
"""

import errno
import os
import select
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedWriter, FileIO, TextIOWrapper
from typing import TYPE_CHECKING, TextIO

from scalelab.core.errors import UserError, reason

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

_GONE = (errno.EPIPE, errno.ECONNRESET)
"""The reader has left (`| head`): nobody misses what it did not read."""


class Outlet(FileIO):
    """A file descriptor to write to that never raises OSError; `fault` is the first one it met."""

    def __init__(self, number: int) -> None:
        super().__init__(number, "wb", closefd=False)
        self.fault: OSError | None = None

    def write(self, data: "ReadableBuffer", /) -> int:
        """Write what fits, as any raw file does; after a fault everything goes to /dev/null."""
        try:
            while (written := super().write(data)) is None:
                select.select([], [self], [])  # the descriptor does not block, and its pipe is full
            return written
        except OSError as error:
            self.fault = error
            _silence(self.fileno())
            return memoryview(data).nbytes


@contextmanager
def standard_streams() -> Iterator[Outlet | None]:
    """Standard streams that can be used without a check; gives the outlet of standard output.

    A stream that somebody else has put in the place of Python's own, as a test does, stays as it
    is, and one that is closed has no outlet. What the encoding of a stream lacks is written as an
    escape, such as `\\u2192`.
    """
    # A file opened next would take the number of a closed descriptor, and be written to by whoever
    # prints.
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            _silence(number)
    before = sys.stdin, sys.stdout, sys.stderr
    outlet = None
    with open(os.devnull, "r+", encoding="utf-8") as null:  # noqa: PTH123 - no path of ours
        if sys.stdout is sys.__stdout__ and sys.stdout is not None:
            outlet = Outlet(1)
            sys.stdout = _text(outlet, sys.stdout)
        if sys.stderr is sys.__stderr__ and sys.stderr is not None:
            sys.stderr = _text(Outlet(2), sys.stderr)
        sys.stdin, sys.stdout, sys.stderr = (
            null if stream is None else stream for stream in (sys.stdin, sys.stdout, sys.stderr)
        )
        try:
            yield outlet
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            sys.stdin, sys.stdout, sys.stderr = before


def lost(outlet: Outlet) -> UserError | None:
    """Why what a command printed did not arrive; None where it did, or where nobody wanted it."""
    fault = outlet.fault
    if fault is None or fault.errno in _GONE:
        return None
    return UserError(
        reason(fault),
        cure="send it elsewhere: the command did its work, but what it printed is incomplete",
        where="standard output",
    )


def _silence(number: int) -> None:
    null = os.open(os.devnull, os.O_RDWR)
    if null != number:
        os.dup2(null, number)
        os.close(null)
    os.set_inheritable(number, True)


def _text(outlet: Outlet, stream: TextIO) -> TextIOWrapper:
    """Text onto the outlet, flushed when the stream was."""
    assert isinstance(stream, TextIOWrapper)
    return TextIOWrapper(
        BufferedWriter(outlet),
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=stream.line_buffering or stream.write_through,
    )
