"""Trials of another store come home by digest, whatever the two databases are."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import get_args

import pytest
from tests.store.conftest import NewPlace, merge, record

from scalelab.core.errors import UserError
from scalelab.core.events import FINISHED, Ended, Measured, Outcome, Started, State
from scalelab.store import frames, open_store
from scalelab.store.curves import curve
from scalelab.store.fits import StoredFit
from scalelab.store.incoming import checked
from scalelab.store.merge import Merged
from scalelab.store.store import Store

A, B, C = record(1), record(2), record(3)


def play(store: Store, digest: str, state: State, recall: float = 0.5) -> None:
    """Bring a registered trial into a state."""
    if state == "queued":
        assert store.claim(digest, "them")
        store.release("them")
    if state in ("missing", "queued"):
        return
    attempt = store.begin(digest, Started({"device": "cpu"}), {"commit": f"{recall}"}, "them")
    store.measure(digest, attempt, Measured(10, {"recall": recall / 2}))
    store.flush()
    if state in get_args(Outcome):
        store.end(
            digest,
            attempt,
            Ended(state, 100, 2.0, {"recall": recall}, artifacts={"model": f"{recall}.pt"}),
        )  # pyright: ignore


@pytest.fixture
def other(new_place: NewPlace) -> Iterator[tuple[Store, str]]:
    """A second store, open to write, and its place."""
    place = new_place()
    with open_store(place, mode="write") as opened:
        yield opened, place


def test_a_store_comes_home_whole(store: Store, other: tuple[Store, str]) -> None:
    theirs, place = other
    theirs.register("x", {"name": "x"}, [B, A, replace(C, origin="imported", extra={"note": "n"})])
    play(theirs, A.digest, "done")
    play(theirs, B.digest, "running")
    assert merge(store, place).imported == 3
    assert store.members("x")[1:] == theirs.members("x")[1:]
    assert store.states([B.digest]) == {B.digest: "queued"}
    assert (
        curve(store, A.digest)
        == curve(theirs, A.digest)
        == {(10, "recall"): 0.25, (100, "recall"): 0.5}
    )
    assert store.trial(A.digest) == theirs.trial(A.digest)
    assert [attempt.state for attempt in store.trial(B.digest).attempts] == ["lost"]
    assert store.claim(B.digest, "me")


def test_merging_again_changes_nothing(store: Store, other: tuple[Store, str]) -> None:
    theirs, place = other
    theirs.register("x", {"name": "x"}, [A, B])
    play(theirs, A.digest, "done")
    merge(store, place)
    before = [read(store) for read in (frames.trials, frames.metrics, frames.attempts)]
    assert merge(store, place).imported == 0
    assert all(
        read(store).equals(was)
        for read, was in zip((frames.trials, frames.metrics, frames.attempts), before, strict=True)
    )


STATES: tuple[State, ...] = ("missing", "queued", "running", "failed", "stopped", "done")
RANK = {"missing": -1, "queued": 0, "running": 0, "failed": 1}


def test_what_knows_more_stays(store: Store, other: tuple[Store, str]) -> None:
    theirs, place = other
    pairs = list(product(STATES, STATES))
    trials = [record(100 + number) for number in range(len(pairs))]
    store.register(
        "x",
        {"name": "x"},
        [trial for trial, (mine, _) in zip(trials, pairs, strict=True) if mine != "missing"],
    )
    theirs.register(
        "x",
        {"name": "x"},
        [trial for trial, (_, their) in zip(trials, pairs, strict=True) if their != "missing"],
    )
    for trial, (mine, their) in zip(trials, pairs, strict=True):
        play(store, trial.digest, mine, recall=0.25)
        play(theirs, trial.digest, their, recall=0.75)
    merge(store, place)
    results = store.results([trial.digest for trial in trials])
    for trial, (mine, their) in zip(trials, pairs, strict=True):
        is_theirs = RANK.get(their, 2) > RANK.get(mine, 2)
        winner = their if is_theirs else mine
        found, points = results[trial.digest], curve(store, trial.digest)
        assert found.state == ("queued" if is_theirs and winner == "running" else winner)
        if winner in FINISHED | {"failed"}:
            recall = 0.75 if is_theirs else 0.25
            assert (found.metrics, points) == (
                {"recall": recall},
                {(10, "recall"): recall / 2, (100, "recall"): recall},
            )
            assert store.trial(trial.digest).artifacts == {"model": f"{recall}.pt"}
        begun = sum(state not in ("missing", "queued") for state in (mine, their))
        assert winner == "missing" or len(store.trial(trial.digest).attempts) == begun, (
            "no attempt is forgotten"
        )


def test_experiments_of_one_name_become_one(store: Store, other: tuple[Store, str]) -> None:
    theirs, place = other
    store.register("x", {"name": "x", "about": "mine"}, [A])
    theirs.register("x", {"name": "x", "about": "theirs"}, [replace(C, axes=A.axes), B])
    theirs.register("y", {"name": "y"}, [C])
    assert merge(store, place) == Merged(imported=2, differing=[], outside=1)
    assert [(found.name, found.spec.get("about")) for found in store.experiments()] == [
        ("x", "mine"),
        ("y", None),
    ]
    # C stands where A stands in this store's spec: it comes home, and does not become a member.
    assert {one.record.digest for one in store.members("x")} == {A.digest, B.digest}
    assert [one.record.digest for one in store.members("y")] == [C.digest]


def test_a_file_comes_home_to_a_server_and_back(new_database: NewPlace, tmp_path: Path) -> None:
    with open_store(tmp_path / "a.db", mode="write") as laptop:
        laptop.register("x", {"name": "x"}, [A, B])
        play(laptop, A.digest, "done")
        before = frames.trials(laptop), frames.metrics(laptop)
    server = new_database()
    with open_store(server, mode="write") as team:
        assert merge(team, tmp_path / "a.db").imported == 2
    with open_store(tmp_path / "b.db", mode="write") as back:
        assert merge(back, server).imported == 2
        assert frames.trials(back).equals(before[0])
        assert frames.metrics(back).equals(before[1])


def test_what_is_no_store_is_a_sentence_and_changes_nothing(store: Store, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("These are notes, and no database at all. " * 50)
    for name, says in (("notes.txt", "is not a database"), ("none.db", "does not exist")):
        with pytest.raises(UserError, match=says):
            merge(store, tmp_path / name)
    assert store.experiments() == []


HOSTILE = "../../evil"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a row in every table that is merged."""
    place = tmp_path_factory.mktemp("whole") / "theirs.db"
    with open_store(place, mode="write") as theirs:
        theirs.register("x", {"name": "x"}, [A])
        play(theirs, A.digest, "done")
        theirs.keep_fit(StoredFit("k", "x", "power", 1.5, {}, {}))
    return place


@pytest.fixture
def theirs(whole: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copy(whole, tmp_path))


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("experiments.name", HOSTILE),
        ("experiments.name", "x\n"),
        ("experiments.spec", "5"),
        ("fits.key", HOSTILE),
        ("fits.draws", b"PK"),
        ("trials.digest", HOSTILE),
        ("trials.state", "wonderful"),
        ("trials.origin", "mars"),
        ("trials.seed", "many"),
        ("trials.flops", 9e999),
        ("trials.params", '{"total":"many"}'),
        ("trials.params", '{"total":9e999}'),
        ("trials.trial", '{"task":"\\ud800"}'),
        ("trials.trial", "[" * 10_000),
        ("trials.metrics", "[1,2"),
        ("trials.metrics", "[1,2]"),
        ("trials.metrics", '{"recall":"high"}'),
        ("trials.metrics", '{"recall":[1]}'),
        ("trials.metrics", b"{}"),
        ("memberships.axes", "5"),
        ("memberships.trial", 7),
        ("memberships.position", 2**40),
        ("attempts.environment", 7),
        ("attempts.state", "running late"),
        ("attempts.started", "noon"),
        ("metrics.value", "high"),
        ("artifacts.place", b"\xff"),
    ],
)
def test_what_scalelab_does_not_write_is_a_sentence(
    theirs: Path, column: str, value: object
) -> None:
    table, _, name = column.partition(".")
    with closing(sqlite3.connect(theirs, isolation_level=None)) as connection:
        connection.execute(f"UPDATE {table} SET {name} = ?", (value,))
    with (
        open_store(theirs, mode="read") as store,
        pytest.raises(UserError, match=rf"theirs.db: `{column}` ") as raised,
    ):
        checked(store)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    "change",
    [
        "DROP TABLE trials",
        "UPDATE trials SET origin = CAST(x'ff' AS TEXT)",
        "CREATE TABLE twice AS SELECT * FROM trials;"
        "INSERT INTO twice SELECT * FROM trials;"
        "DROP TABLE trials;"
        "ALTER TABLE twice RENAME TO trials",
    ],
)
def test_a_store_with_other_tables_changes_nothing(theirs: Path, store: Store, change: str) -> None:
    with closing(sqlite3.connect(theirs, isolation_level=None)) as connection:
        connection.executescript(change)
    with pytest.raises(UserError, match=r"theirs.db: is not as a store is: "):
        merge(store, theirs)
    assert store.experiments() == []
