"""A store in one SQLite file: WAL, one writer at a time, and everything else that is special to
SQLite.

A reader never blocks the writer and sees one state of the store. A writer begins with BEGIN
IMMEDIATE: a transaction that reads first and then writes would fail at once, whatever the timeout,
where another writer came between. `synchronous=NORMAL` in WAL: a killed process loses nothing that
was committed; a power cut may lose the last moments, never the file.
"""

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    Table,
    Text,
    create_engine,
    event,
    func,
    type_coerce,
)
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from scalelab.core.errors import UserError, reason
from scalelab.store.database import Mode, Point
from scalelab.store.patience import Away, Lost

APPLICATION = 0x5CA1E1AB
"""Written into the file's header, so that no other program's database is taken for a store."""

BUSY_S = 30.0
"""How long a transaction waits for another one."""

TRY_S = 1.0
"""How long it waits at a time where it is tried again: no signal is handled meanwhile."""

HEADER_BYTES = 100

MOVED_S = 1.0
"""How long a mark is looked for that is not in its page: `VACUUM` may be moving it."""


class Page(NamedTuple):
    """A part of a file."""

    bytes: int
    offset: int


INTERIOR = b"\x02"
"""First byte of a page of an index that has others below it (SQLite's file format, section 1.6)."""


class Sqlite:
    """A SQLite file as the place of a store."""

    errors: tuple[type[Exception], ...] = (sqlite3.Error,)
    reading: Mapping[str, Any] = {"begin": "BEGIN"}
    writing: Mapping[str, Any] = {"begin": "BEGIN IMMEDIATE"}

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, str(path)
        self.folder: Path | None = path.parent
        self.is_patient = False
        self._readable_copy: TemporaryDirectory[str] | None = None
        self._inode: tuple[int, int] | None = None
        self._wal_inode: tuple[int, int] | None = None
        self._is_stamped = False
        self._engine: Engine | None = None
        self._mark = b""
        self._mark_at = Page(0, 0)
        self._is_marked = False
        self._counter = 0

    def engine(self, mode: Mode) -> Engine:
        """Raises UserError where the file is missing (to read), or can't be written (to write)."""
        if self.path.is_dir():
            raise self._fault("is a folder", "name a file in it, such as scalelab.db")
        if self.path.exists() and not self.path.is_file():
            raise self._fault("is not a regular file", "name a file, such as results/scalelab.db")
        if mode == "read" and not self.path.exists():
            raise self._fault(
                "does not exist",
                "name an existing store with --store, or make one with `scalelab run`",
            )
        if mode == "write":
            self._check_writable()
        uri = self._readable() if mode == "read" else f"{self.path.absolute().as_uri()}?mode=rwc"
        engine = create_engine(
            "sqlite://", creator=lambda: _connect(uri, mode, self._wait_s), poolclass=QueuePool
        )
        # The driver's own BEGIN comes too late and is never immediate: ours is the first word of a
        # transaction.
        event.listen(engine, "begin", self._begin)
        return engine

    def _begin(self, connection: Connection) -> None:
        connection.exec_driver_sql(f"PRAGMA busy_timeout={1000 * self._wait_s:.0f}")
        connection.exec_driver_sql(connection.get_execution_options()["begin"])

    def settle(self, engine: Engine) -> None:
        """Turn WAL on; a file system that can't have it keeps the journal it has."""
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA journal_mode=WAL").close()
        finally:
            connection.close()

    def purge(self, engine: Engine) -> None:
        """Write the file anew, without the pages of deleted rows, and empty the WAL.

        Raises Away where a reader keeps the old pages in use.
        """
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("VACUUM").close()
            emptied = connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            is_busy, *_ = emptied.fetchone()
            emptied.close()
        finally:
            connection.close()
        if is_busy:
            cure = "end that process, or wait for it"
            raise Away("another process reads it", cure=cure, where=self.name)

    def watch(self, engine: Engine, mark: str) -> None:
        """Note which file it is, once the WAL has brought the mark home, and the header of a new
        one.
        """
        connection = engine.raw_connection()
        try:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").close()
        finally:
            connection.close()
        self._engine, self._mark, self._is_marked = engine, mark.encode(), False
        self._counter, self._mark_at = 0, _page_of_properties(engine)
        try:
            self._inode = _inode(self.path.stat())
        except OSError as error:
            raise Lost(f"cannot be found: {reason(error)}", where=self.name) from error
        with suppress(FileNotFoundError):  # of a file system that can't have one
            self._wal_inode = _inode(self._wal.stat())

    def check(self, engine: Engine) -> None:
        """Looks at the file itself: SQLite goes on in a file that was deleted, and in one whose
        content was replaced.
        """
        if (lost := self._lost()) is not None:
            raise lost

    def copy(self, engine: Engine, path: Path) -> bool:
        """A file that was deleted or moved is read through the connections that hold it open."""
        if self._fault_of_content() is not None:
            return False
        connection = engine.raw_connection()
        with closing(sqlite3.connect(path)) as copy:
            try:
                connection.driver_connection.backup(copy)  # pyright: ignore[reportOptionalMemberAccess]
            finally:
                connection.close()
            return copy.execute("PRAGMA quick_check").fetchone() == ("ok",)

    def abandon(self) -> None:
        """Empty and remove the WAL of a lost file: SQLite would write it into the file that has the
        name now.
        """
        if self._lost() is None:
            return
        with suppress(OSError):
            if _inode(self._wal.stat()) == self._wal_inode:
                os.truncate(self._wal, 0)
                self._wal.unlink()

    def version(self, connection: Connection) -> int:
        """`PRAGMA user_version`, where the header says that the file is ours."""
        if connection.exec_driver_sql("PRAGMA application_id").scalar() == APPLICATION:
            return int(connection.exec_driver_sql("PRAGMA user_version").scalar() or 0)
        if connection.exec_driver_sql("SELECT count(*) FROM sqlite_master").scalar():
            raise self._fault("is a database of another program", "name another file with --store")
        return 0

    def stamp(self, connection: Connection, version: int) -> None:
        """Both numbers stand in the file's header and are part of the transaction."""
        connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION}")
        connection.exec_driver_sql(f"PRAGMA user_version={version}")

    def insert(self, table: Table) -> Any:
        """SQLite's INSERT."""
        return insert(table)

    def text_at(self, column: ColumnElement[Any], path: str) -> ColumnElement[str]:
        """SQLite reads JSON out of text."""
        return func.json_extract(type_coerce(column, Text), f"$.{path}")

    def write_metrics(self, connection: Connection, rows: Sequence[Point]) -> None:
        """One prepared statement for them all."""
        if rows:
            connection.exec_driver_sql(
                "INSERT OR REPLACE INTO metrics (trial, name, step, value) VALUES (?, ?, ?, ?)",
                list(rows),
            )

    def explain(self, error: Exception) -> UserError | None:
        """By SQLite's own error names, unless the file itself is the fault."""
        if (lost := self._lost()) is not None:
            return lost
        name = getattr(
            error.orig if isinstance(error, DBAPIError) else error, "sqlite_errorname", ""
        )
        if name == "SQLITE_NOTADB":
            return self._fault("is not a database", "name another file with --store")
        if name == "SQLITE_CORRUPT":
            return self._fault(
                "is damaged",
                "bring back a copy of it, or rescue what is left with `sqlite3 FILE .recover`",
            )
        if name == "SQLITE_FULL" or (name.startswith("SQLITE_IOERR") and self._disk_is_full()):
            return self._fault(
                "the disk is full",
                "make room and run the same command again: nothing that was finished is lost",
            )
        if name.startswith("SQLITE_READONLY"):
            return self._read_only()
        if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
            cure = "end that process, or wait for it"
            return Away("another process holds it", cure=cure, where=self.name)
        if name.startswith("SQLITE_CANTOPEN"):
            return self._fault("cannot be opened", "check the path and its permissions")
        if name.startswith(("SQLITE_IOERR", "SQLITE_PROTOCOL")):
            return self._fault(
                f"its disk does not read, write or lock it as a database needs ({name})",
                "check the disk, or name a store on a local one with --store",
            )
        if name.startswith("SQLITE_NOMEM"):
            return self._fault("there is not enough memory to open it", "end other programs")
        return None

    def close(self) -> None:
        """Drop the private copy, if reading needed one."""
        if self._readable_copy is not None:
            self._readable_copy.cleanup()

    @property
    def _wait_s(self) -> float:
        return TRY_S if self.is_patient else BUSY_S

    @property
    def _wal(self) -> Path:
        return self.path.with_name(f"{self.path.name}-wal")

    def _lost(self) -> Lost | None:
        """What became of the file that is watched, where it is no longer there."""
        if self._inode is None:
            return None
        try:
            found = self.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return Lost("was removed during the run", where=self.name)
        except OSError:  # a disk that does not answer for a moment
            return None
        if _inode(found) != self._inode:
            return Lost("was replaced by another file during the run", where=self.name)
        fault = self._fault_of_content()
        return None if fault is None else Lost(f"{fault} during the run", where=self.name)

    def _fault_of_content(self) -> str | None:
        found = self._read()
        if found is None:
            return None
        header, page = found
        if len(header) < HEADER_BYTES:
            return "was truncated"
        application = int.from_bytes(header[68:72], "big")
        is_ours = application == APPLICATION or (application == 0 and not self._is_stamped)
        if not header.startswith(b"SQLite format 3\0") or not is_ours:
            return "was overwritten by another program"
        self._is_stamped = self._is_stamped or application == APPLICATION
        counter = int.from_bytes(header[24:28], "big")
        if counter < self._counter or not (self._may_be_marked(page) or self._finds_mark()):
            return "was overwritten by another store, or an older copy,"
        self._counter, self._is_marked = counter, self._is_marked or self._mark in page
        return None

    def _finds_mark(self) -> bool:
        """Whether the mark may yet be in the file: on its way there from the WAL, or in another
        page, as `VACUUM` moves it.
        """
        if not self._is_marked or self._engine is None:
            return True
        for pause_s in (0.0, *[MOVED_S / 5] * 5):
            time.sleep(pause_s)
            with suppress(DBAPIError, sqlite3.Error):
                self._mark_at = _page_of_properties(self._engine)
            found = self._read()
            if found is None or self._may_be_marked(found[1]):
                return True
        return False

    def _may_be_marked(self, page: bytes) -> bool:
        """Whether the mark is in the page, or below it: with the marks of some eighty drivers the
        table has several pages, and the mark is not looked for.
        """
        return self._mark in page or page[:1] == INTERIOR

    def _read(self) -> tuple[bytes, bytes] | None:
        """The first bytes, and the page of the mark, of the file that is watched, under whatever
        name it has by now.

        Read through a descriptor of SQLite's: to open the file here and close it again would drop
        every lock that SQLite has on it in this process (see "How To Corrupt", 2.2).
        """
        for entry in Path("/dev/fd").iterdir():
            with suppress(OSError):
                number = int(entry.name)
                if _inode(os.fstat(number)) == self._inode:
                    page = os.pread(number, *self._mark_at)
                    return os.pread(number, HEADER_BYTES, 0), page
        return None

    def _readable(self) -> str:
        """The URI under which the file can be read, also where nothing can be written beside it."""
        # Whoever may write tidies up behind itself: a reader that may not leaves the WAL's files
        # lying beside the store.
        uri = f"{self.path.absolute().as_uri()}?mode={'rw' if _may_write(self.path) else 'ro'}"
        try:
            with closing(_connect(uri, "read", self._wait_s)) as probe:
                probe.execute("SELECT count(*) FROM sqlite_master")
            return uri
        except sqlite3.DatabaseError as error:
            if not error.sqlite_errorname.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN")):
                return uri
        # A WAL wants to write beside the file, and can't. Without one the file itself is all; else
        # the two are read from a copy.
        wal = self._wal
        if not wal.exists() or not wal.stat().st_size:
            return f"{self.path.absolute().as_uri()}?mode=ro&immutable=1"
        self._readable_copy = TemporaryDirectory(prefix="scalelab-")
        for file in (self.path, wal):
            shutil.copyfile(file, Path(self._readable_copy.name, file.name))
        return f"{Path(self._readable_copy.name, self.path.name).as_uri()}?mode=ro"

    def _check_writable(self) -> None:
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except FileExistsError as error:
            raise self._fault(
                f"cannot be made: `{error.filename}` is a file", "name a folder there with --store"
            ) from error
        except OSError as error:
            raise self._fault(
                f"cannot be made: {reason(error)}",
                "name a folder that you may write to with --store",
            ) from error
        for place in (self.path.parent, self.path):
            if place.exists() and not _may_write(place):
                raise self._read_only()

    def _disk_is_full(self) -> bool:
        return shutil.disk_usage(self.path.parent).free < 2**20

    def _read_only(self) -> UserError:
        return self._fault(
            "is read-only",
            "ls, show and report work on it; to run, name a store that you may write to with"
            " --store",
        )

    def _fault(self, what: str, cure: str) -> UserError:
        return UserError(what, cure=cure, where=self.name)


def _page_of_properties(engine: Engine) -> Page:
    """Where the page of the table `properties` stands in the file."""
    connection = engine.raw_connection()
    try:
        cursor = connection.cursor()
        cursor.execute(
            "SELECT page_size, rootpage FROM pragma_page_size, sqlite_master"
            " WHERE name = 'properties'"
        )
        [(size, number)] = cursor.fetchall()
        cursor.close()
    finally:
        connection.close()
    return Page(size, (number - 1) * size)


def _inode(found: os.stat_result) -> tuple[int, int]:
    return found.st_dev, found.st_ino


def _may_write(place: Path) -> bool:
    """Permissions are believed for root too, who could write all the same: a file made read-only is
    meant so.
    """
    return os.access(place, os.W_OK) and bool(
        place.stat().st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH)
    )


def _connect(uri: str, mode: Mode, wait_s: float) -> sqlite3.Connection:
    connection = sqlite3.connect(
        uri, uri=True, timeout=wait_s, check_same_thread=False, isolation_level=None
    )
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.execute(f"PRAGMA query_only={'ON' if mode == 'read' else 'OFF'}")
    return connection
