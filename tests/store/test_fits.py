"""Fits in a store, on both kinds of database; and stores that were made before there were any."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy.exc import IntegrityError
from tests.store.conftest import NewPlace, merge, record

from scalelab.core.errors import UserError
from scalelab.store import frames, open_store
from scalelab.store.curves import curve
from scalelab.store.fits import StoredFit, packed
from scalelab.store.store import Store

FIXTURES = Path(__file__).parent / "fixtures"
DRAWS = {"A": np.array([1 / 3, 5e-324, -0.0]), "alpha": np.array([np.nan, np.inf, 1e300])}


def fit(key: str = "k", experiment: str = "x", created: float = 1.0) -> StoredFit:
    return StoredFit(
        key,
        experiment,
        "power",
        created,
        {"seed": 0, "about": "ä"},
        {"objective": 0.1 + 0.2, "nothing": None},
        DRAWS,
    )


@pytest.fixture
def filled(store: Store) -> Store:
    for name in ("x", "y"):
        store.register(name, {"name": name}, [record(1)])
    return store


def test_a_fit_comes_back_bit_for_bit(filled: Store) -> None:
    filled.keep_fit(fit())
    [kept] = filled.fits(["x"])
    assert (kept.record, kept.result, kept.created) == (fit().record, fit().result, 1.0)
    assert {name: values.tobytes() for name, values in kept.draws.items()} == {
        name: values.tobytes() for name, values in DRAWS.items()
    }


def test_the_same_draws_are_the_same_bytes() -> None:
    assert packed(DRAWS) == packed({name: values.copy() for name, values in DRAWS.items()})


def test_fits_of_an_experiment_stand_newest_last(filled: Store) -> None:
    for key, experiment, created in (("b", "x", 3.0), ("a", "x", 2.0), ("c", "y", 1.0)):
        filled.keep_fit(fit(key, experiment, created))
    assert [kept.key for kept in filled.fits()] == ["c", "a", "b"]
    assert [kept.key for kept in filled.fits(["x"])] == ["a", "b"]
    assert frames.fits(filled, ["y"])["key"].to_list() == ["c"]
    with pytest.raises(UserError, match="no experiment `z`"):
        filled.fits(["z"])


def test_the_same_key_is_the_same_fit(filled: Store) -> None:
    filled.keep_fit(fit(created=1.0))
    filled.keep_fit(fit(created=2.0))
    assert [kept.created for kept in filled.fits()] == [2.0]


def test_a_fit_belongs_to_an_experiment_of_the_store(filled: Store) -> None:
    with pytest.raises(IntegrityError):
        filled.keep_fit(fit(experiment="nobody"))


def test_fits_come_home_with_their_trials(filled: Store, new_place: NewPlace) -> None:
    filled.keep_fit(fit("ours"))
    place = new_place()
    with open_store(place, mode="write") as other:
        other.register("z", {"name": "z"}, [record(2)])
        other.keep_fit(fit("theirs", "z"))
    for _ in range(2):
        merge(filled, place)
        assert [kept.key for kept in filled.fits()] == ["ours", "theirs"]
    assert filled.fits(["z"])[0].draws["A"].tobytes() == DRAWS["A"].tobytes()


@pytest.fixture
def old(request: pytest.FixtureRequest, new_place: NewPlace) -> str:
    """A store of schema version 1: a run done, one stopped, one diverged, one that nobody ran; and
    three imported rows.
    """
    place = new_place()
    if "://" not in place:
        shutil.copyfile(FIXTURES / "v1.db", place)
        return place
    import psycopg

    with psycopg.connect(place, autocommit=True) as connection:
        connection.execute((FIXTURES / "v1.postgres.sql").read_bytes())
    return place


def check_old(store: Store) -> None:
    frame = frames.trials(store)
    assert frame["state"].to_list() == [
        "done",
        "stopped",
        "diverged",
        "missing",
        "done",
        "done",
        "done",
    ]
    assert frame["metrics.recall"].to_list() == [0.5, 0.5, 0.5, None, 0.5, 0.9, 0.25]
    assert curve(store, frame["digest"][0])[20, "loss"] == 0.15
    assert store.trial(frame["digest"][0]).attempts[0].environment == {
        "commit": "c0ffee",
        "dirty": None,
    }


def test_an_old_store_is_read_as_it_is(old: str) -> None:
    with open_store(old, mode="read") as store:
        check_old(store)
        assert store.fits() == []
        assert store.other_source("grid", "grid.yaml", {}) is None


def test_an_old_store_is_brought_up_to_date_by_the_first_that_writes(old: str) -> None:
    with open_store(old, mode="write") as store:
        check_old(store)
        store.keep_fit(fit(experiment="grid"))
        store.register("mine", {"name": "mine"}, [], "/mine.yaml")
    with open_store(old, mode="read") as store:
        check_old(store)
        assert [kept.key for kept in store.fits(["grid"])] == ["k"]


def test_an_old_store_comes_home(old: str, store: Store) -> None:
    assert merge(store, old).imported == 7
    check_old(store)
    assert store.fits() == []
