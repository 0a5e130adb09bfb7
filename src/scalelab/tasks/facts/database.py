"""The tool: a real SQLite database that is opened read-only and answers any text with a short text,
never with an exception.
"""

import sqlite3
import weakref
from collections.abc import Iterable, Sequence
from itertools import count

NO_RESULT = "no result"

MAX_QUERY = 1000
"""Characters of a query; a longer one is refused."""

MAX_ROWS = 4
"""Rows of a reply; more are left off."""

MAX_REPLY = 48
"""Characters of a reply; more are cut off."""

MAX_INSTRUCTIONS = 2_000_000
"""Time limit of a query, in instructions of SQLite's machine (tens of milliseconds), so that it
strikes alike on every machine.
"""

_PROGRESS = 10_000
_databases = count()


class Database:
    """The table `people`: a name and the attributes, all text."""

    def __init__(self, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
        location = f"file:/scalelab-{next(_databases)}?vfs=memdb"
        # It lives in memory as long as a connection is open: written through one, then read through
        # another that cannot write.
        writer = sqlite3.connect(location, uri=True)
        try:
            fields = ", ".join(f"{column} TEXT" for column in columns)
            writer.execute(f"CREATE TABLE people (name TEXT PRIMARY KEY, {fields}) WITHOUT ROWID")
            with writer:
                writer.executemany(f"INSERT INTO people VALUES (?{', ?' * len(columns)})", rows)
            # A trial may be evaluated in another thread than the one that built its data.
            self._reader = sqlite3.connect(f"{location}&mode=ro", uri=True, check_same_thread=False)
            self._reader.execute("SELECT name FROM people LIMIT 1").fetchall()
        finally:
            writer.close()
        self._reader.text_factory = lambda text: text.decode(errors="replace")
        self._reader.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 10 * MAX_QUERY)
        self._reader.set_authorizer(_only_reads_people)
        self._clock = _Clock()
        self._reader.set_progress_handler(self._clock.tick, _PROGRESS)
        weakref.finalize(self, self._reader.close)

    def query(self, sql: str) -> str:
        """The reply to one SELECT: columns joined by `, `, rows by `; `.

        A fault is replied as `error: ...`.
        """
        if len(sql) > MAX_QUERY:
            return "error: query too long"
        if sql.lstrip()[:6].upper() != "SELECT":
            return "error: only SELECT is allowed"
        self._clock.ticks = 0
        try:
            rows = self._reader.execute(sql).fetchmany(MAX_ROWS)
        except (sqlite3.Error, sqlite3.Warning, ValueError) as fault:
            return _short(f"error: {fault}")
        return _short("; ".join(", ".join(map(str, row)) for row in rows)) if rows else NO_RESULT


class _Clock:
    """Counts a query's instructions.

    It stands apart from the database, since a connection that held the database would never be
    freed.
    """

    def __init__(self) -> None:
        self.ticks = 0

    def tick(self) -> bool:
        """Whether the query has had its time."""
        self.ticks += 1
        return self.ticks * _PROGRESS > MAX_INSTRUCTIONS


def _only_reads_people(action: int, first: str | None, *_: str | None) -> int:
    if action == sqlite3.SQLITE_SELECT or (action == sqlite3.SQLITE_READ and first == "people"):
        return sqlite3.SQLITE_OK
    return sqlite3.SQLITE_DENY


def _short(text: str) -> str:
    """One line of at most MAX_REPLY characters: a lane has room for a value, not for a table."""
    return " ".join(text.split())[:MAX_REPLY].encode(errors="replace").decode() or NO_RESULT
