"""What is special to a store in a file: permissions, other people's files, full disks and killed
writers.
"""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from tests.store.conftest import record, unprivileged

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.store import frames, open_store, schema, sqlite
from scalelab.store.curves import curve

A, B = record(1), record(2)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A store with a finished trial."""
    return fill(tmp_path / "lab.db")


def fill(path: Path) -> Path:
    with open_store(path, mode="write") as store:
        store.register("x", {"name": "x"}, [A, B])
        attempt = store.begin(A.digest, Started({}), {}, "me")
        store.end(A.digest, attempt, Ended("done", 100, 2.0, {"recall": 0.5}))
    return path


def refused(path: Path, says: str, modes: tuple[str, ...] = ("read", "write")) -> None:
    """Each mode gives the sentence, and the file keeps its bytes."""
    before = path.read_bytes() if path.is_file() else None
    for mode in modes:
        with pytest.raises(UserError, match=says):
            open_store(path, mode=mode)  # pyright: ignore[reportArgumentType]
    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_text_is_no_database(tmp_path: Path) -> None:
    path = tmp_path / "notes.db"
    path.write_text("These are notes, and no database at all. " * 50)
    refused(path, "notes.db: is not a database; name another file")


def test_another_programs_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE trials (id INTEGER)")
    refused(path, "other.db: is a database of another program")


def test_a_folder_is_no_store(tmp_path: Path) -> None:
    refused(tmp_path, "is a folder")


def test_a_missing_store_can_be_made_and_not_read(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lab.db"
    refused(path, "lab.db: does not exist; name an existing store", ("read",))
    assert not path.parent.exists()
    open_store(path, mode="write").close()
    open_store(path, mode="read").close()


def test_an_empty_file_holds_no_store_yet(tmp_path: Path) -> None:
    path = tmp_path / "lab.db"
    path.touch()
    refused(path, "is empty: there is no store in it", ("read",))
    open_store(fill(path), mode="read").close()


def test_a_damaged_store_is_a_sentence(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096:] = b"\xff" * (len(content) - 4096)
    path.write_bytes(content)
    with pytest.raises(UserError, match="is damaged"), open_store(path, mode="read") as store:
        store.members("x")


def test_an_unknown_url_is_a_sentence() -> None:
    with pytest.raises(UserError, match="`mysql://host/db` is no store"):
        open_store("mysql://host/db", mode="read")


def test_names_with_odd_characters_are_names(tmp_path: Path) -> None:
    path = fill(tmp_path / "50% of? it#1 ü.db")
    with open_store(path, mode="read") as store:
        assert store.states([A.digest]) == {A.digest: "done"}
    assert [found.name for found in tmp_path.iterdir()] == [path.name]


def test_a_file_made_read_only_is_read_and_not_written(path: Path) -> None:
    path.chmod(0o444)
    refused(path, "is read-only; ls, show and report work on it; to run, name a store", ("write",))
    with open_store(path, mode="read") as store:
        assert store.states([A.digest]) == {A.digest: "done"}


def read_as_nobody(path: Path) -> None:
    with unprivileged(), open_store(path, mode="read") as store:
        assert store.states([A.digest, B.digest]) == {A.digest: "done", B.digest: "missing"}
        assert frames.trials(store).height == 2
        assert curve(store, A.digest) == {(100, "recall"): 0.5}


def test_a_store_in_a_read_only_folder_is_read(open_folder: Path) -> None:
    path = fill(open_folder / "lab.db")
    open_folder.chmod(0o555)
    read_as_nobody(path)
    with unprivileged():
        refused(path, "is read-only", ("write",))


@pytest.mark.parametrize("left", [("-wal", "-shm"), ("-wal",)])
def test_what_a_killed_writer_left_in_a_read_only_folder_is_read(
    open_folder: Path, tmp_path: Path, left: tuple[str, ...]
) -> None:
    live = fill(tmp_path / "lab.db")
    with open_store(live, mode="write") as store:
        attempt = store.begin(B.digest, Started({}), {}, "me")
        store.end(B.digest, attempt, Ended("failed", 1, 1.0))
        store.register("y", {"name": "y"}, [])
        for end in (
            "",
            *left,
        ):  # as it is on the disk while it is open: the last transactions stand in the WAL alone
            shutil.copy(f"{live}{end}", open_folder)
    open_folder.chmod(0o555)
    with unprivileged(), open_store(open_folder / "lab.db", mode="read") as store:
        assert store.states([A.digest, B.digest]) == {A.digest: "done", B.digest: "failed"}
        assert [found.name for found in store.experiments()] == ["x", "y"]


def test_a_full_disk_loses_nothing(path: Path) -> None:
    with open_store(path, mode="write") as store:
        attempt = store.begin(B.digest, Started({}), {}, "me")
        pages = limit_pages(store, 1)
        with pytest.raises(
            UserError, match=r"lab\.db: the disk is full; make room and run the same command again"
        ):
            store.measure(
                B.digest, attempt, Measured(1, {f"metric_{number}": 1.0 for number in range(3000)})
            )
        with pytest.raises(UserError, match="the disk is full"):
            store.end(B.digest, attempt, Ended("done", 2, 1.0, {"loss": 0.5}))
        with open_store(path, mode="read") as other:
            assert other.states([A.digest, B.digest]) == {A.digest: "done", B.digest: "running"}
        limit_pages(store, pages)
        store.end(B.digest, attempt, Ended("done", 2, 1.0, {"loss": 0.5}))
        assert len(curve(store, B.digest)) == 3001
        assert store.states([B.digest]) == {B.digest: "done"}


def limit_pages(store: object, pages: int) -> int:
    """Let SQLite itself say that the disk is full beyond so many pages (or those that
    are there).
    """
    with store.database.reading() as connection:  # pyright: ignore
        was = connection.exec_driver_sql("PRAGMA max_page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    return was


def test_a_store_that_another_process_holds_is_a_sentence(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_S", 0.05)
    with (
        open_store(path, mode="write") as store,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UserError, match="another process holds it"):
            store.claim(B.digest, "me")
        assert store.states([B.digest]) == {B.digest: "missing"}, "a reader is never blocked"
        other.execute("ROLLBACK")
        assert store.claim(B.digest, "me")


OPENER = (
    "import sys; from scalelab.store import open_store; sys.stdin.readline();"
    " open_store(sys.argv[1], mode='write').close()"
)


def test_processes_make_a_store_at_the_same_time(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OPENER, str(tmp_path / "lab.db")]
    makers = [subprocess.Popen(command, stdin=-1, stderr=-1, text=True) for _ in range(3)]
    for maker in makers:
        assert maker.stdin is not None
        maker.stdin.write("go\n")
        maker.stdin.flush()
    assert [maker.communicate(timeout=60)[1] for maker in makers] == [""] * 3
    open_store(tmp_path / "lab.db", mode="read").close()


WRITER = """
import sys
from tests.store.conftest import record
from scalelab.core.events import Ended, Measured, Started
from scalelab.store import open_store
store = open_store(sys.argv[1], mode="write")
for number in range(1, 100_000):
    trial = record(number)
    store.register("x", {"name": "x"}, [trial])
    attempt = store.begin(trial.digest, Started({}), {}, "me")
    for step in range(1, 51):
        store.measure(trial.digest, attempt, Measured(step, {"loss": 1 / step, "recall": 0.5}))
    store.end(trial.digest, attempt, Ended("done", 51, 1.0, {"recall": 1.0}))
    print(trial.digest, flush=True)
"""


def test_kill_9_of_a_writer_leaves_a_readable_store_with_all_that_was_finished(
    tmp_path: Path,
) -> None:
    path, root = tmp_path / "lab.db", Path(__file__).parents[2]
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=root
    ) as writer:
        assert writer.stdout is not None
        finished = [writer.stdout.readline().strip() for _ in range(20)]
        writer.send_signal(signal.SIGKILL)
        finished += writer.stdout.read().split()
    assert writer.returncode == -signal.SIGKILL
    with open_store(path, mode="read") as store:
        assert set(store.states(finished).values()) == {"done"}
        assert all(len(curve(store, digest)) == 101 for digest in finished), "done means complete"
        with store.database.reading() as connection:
            assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    with open_store(path, mode="write") as store:
        store.register("x", {"name": "x"}, [record(100_001)])


def test_the_file_is_in_wal(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (schema.VERSION,)


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.db")
    for place in (tmp_path / "pipe.db", Path("/dev/null"), Path("/dev/zero")):
        refused(place, "is not a regular file")


def test_a_store_under_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused(tmp_path / "file" / "lab.db", "file` is a file|does not exist")


@pytest.mark.parametrize("name", ["sp ace", "per%41cent", "ha#sh", "qu?e=1&r", "ünï→", "new\nline"])
def test_a_path_with_odd_letters_is_that_path(name: str, tmp_path: Path) -> None:
    path = fill(tmp_path / name / f"{name}.db")
    assert path.is_file()
    with open_store(path, mode="read") as store:
        assert store.states([A.digest]) == {A.digest: "done"}
