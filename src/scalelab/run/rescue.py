"""What a run has found out, in a store of its own: for a run whose store is lost, or stays away
for longer than the run may wait.

A file that was deleted or moved is still there for those who hold it open, with all that earlier
runs wrote. Of a file that was truncated, or of tables that were dropped, nothing is; therefore the
run keeps a diary of what it writes.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from shlex import quote
from tempfile import TemporaryFile, gettempdir
from typing import IO, Any

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, News, Started
from scalelab.store.claims import Taken
from scalelab.store.database import Database
from scalelab.store.opening import open_at
from scalelab.store.patience import Away, Lost
from scalelab.store.records import TrialRecord
from scalelab.store.store import Store

WriteDown = Callable[[Store], None]
"""Writes the run's experiment into a store."""


@dataclass(frozen=True)
class Entry:
    """A word of a trial, or that it was asked for."""

    at: float
    """Seconds since the epoch."""
    digest: str
    event: News | TrialRecord
    key: str = ""
    """Of the attempt that begins."""


_KINDS = {kind.__name__: kind for kind in (Started, Measured, Ended, TrialRecord)}


class Diary:
    """The entries of a run, in order. They wait on the disk, in a file without a name that goes
    with the process.
    """

    def __init__(self) -> None:
        self._file: IO[bytes] | None = None

    def note(self, entry: Entry) -> None:
        """Add an entry. A disk that is full is no reason to stop: the store is the memory."""
        line = asdict(entry) | {"kind": type(entry.event).__name__}
        with suppress(OSError):
            # Without a buffer: what once found no room would stand in the way of all that follows.
            self._file = self._file or TemporaryFile("a+b", buffering=0)  # noqa: SIM115
            # The newline comes first: it ends a line that was cut short by a full disk.
            self._file.write(f"\n{json.dumps(line)}".encode())

    def entries(self) -> Iterator[Entry]:
        """What was noted, but for lines that were cut short."""
        if self._file is None:
            return
        with suppress(OSError), open(self._file.fileno(), "rb", closefd=False) as lines:
            lines.seek(0)
            for line in lines:
                try:
                    fields = json.loads(line)
                except ValueError:
                    continue
                event = _KINDS[fields.pop("kind")](**fields.pop("event"))
                yield Entry(event=event, **fields)

    def close(self) -> None:
        """Drop it."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()


def rescued(
    fault: Away | Lost,
    database: Database,
    diary: Diary,
    write_down: WriteDown,
    *,
    experiment: str | None,
    environment: dict[str, Any],
    owner: str,
) -> UserError:
    """Write a rescue file: beside the store, else in the current or the temporary folder; the
    error that says where it is. A store that is away keeps what it has: the file gets what this run
    has found, and there is none where that is nothing.

    `experiment` is the one in which trials are enlisted; None where all are members.
    """
    is_lost = isinstance(fault, Lost)
    if not is_lost and next(diary.entries(), None) is None:
        return fault
    stem = "scalelab" if database.kind.folder is None else Path(database.kind.name).stem
    for folder in (database.kind.folder, Path(), Path(gettempdir())):
        if folder is None or not folder.is_dir():
            continue
        path = folder / f"{stem}.rescue-{time.strftime('%Y%m%d-%H%M%S')}.db"
        try:
            path.open("xb").close()
        except OSError:
            continue
        try:
            if is_lost:
                _copy(database, path)
            else:
                _remove(path)
            _write(path, diary, write_down, experiment, environment, owner)
        except (OSError, UserError):  # no room there
            _remove(path)
            continue
        bring = f"scalelab import {quote(str(path))} --store {quote(database.kind.name)}"
        cure = f"bring it back with `{bring}`, and run the same command again"
        return UserError(f"{fault.what}; what it had is in {path}", cure=cure, where=fault.where)
    if not is_lost:
        return fault
    what = f"{fault.what}, and no folder takes a rescue file"
    return UserError(what, cure="make room, and run the same command again", where=fault.where)


def _copy(database: Database, path: Path) -> None:
    """What can be read of the lost store; else the file stays empty."""
    try:
        is_whole = database.copy(path)
    except UserError:
        is_whole = False
    if not is_whole:
        _remove(path)


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm", "-journal"):
        path.with_name(f"{path.name}{suffix}").unlink(missing_ok=True)


def _write(
    path: Path,
    diary: Diary,
    write_down: WriteDown,
    experiment: str | None,
    environment: dict[str, Any],
    owner: str,
) -> None:
    """Write the run down again; what the copy has already stays as it is."""
    now = time.time()
    attempts: dict[str, int] = {}
    enlisted: set[str] = set()
    with open_at(path, mode="write", clock=lambda: now) as store:
        write_down(store)
        for entry in diary.entries():
            now, digest, event = entry.at, entry.digest, entry.event
            if isinstance(event, TrialRecord):
                assert experiment is not None
                store.enlist(experiment, event, owner)
                enlisted.add(digest)
                continue
            if experiment is not None and digest not in enlisted:
                continue  # what the trial is found no room in the diary
            if isinstance(event, Started) or digest not in attempts:
                # The first word may not have found room in the diary.
                started = event if isinstance(event, Started) else Started({})
                try:
                    attempts[digest] = store.begin(
                        digest, started, environment, owner, key=entry.key
                    )
                except Taken:  # by another driver, of which the copy knows
                    attempts.pop(digest, None)
                    continue
            if isinstance(event, Measured):
                store.measure(digest, attempts[digest], event)
            elif isinstance(event, Ended):
                store.end(digest, attempts.pop(digest), event)
        now = time.time()
        store.release(owner)
