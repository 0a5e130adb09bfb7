"""A bundle brings a whole store elsewhere."""

import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from zipfile import ZIP_DEFLATED, ZipFile

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tests.store.conftest import NewPlace, merge, record

from scalelab.core.errors import UserError
from scalelab.core.events import PRUNED, Ended, Measured, Started
from scalelab.store import frames, open_store
from scalelab.store.bundle import unpacked
from scalelab.store.curves import curve
from scalelab.store.export import export
from scalelab.store.fits import StoredFit
from scalelab.store.merge import Merged
from scalelab.store.store import Store

VALUES = st.floats() | st.sampled_from([math.nan, math.inf, 1 / 3])
STATES = ("missing", "queued", "failed", "pruned", "stopped", "diverged", "done", "imported")
TRIALS = st.lists(
    st.tuples(
        st.sampled_from(STATES), st.sets(st.sampled_from("xyz")), st.lists(VALUES, max_size=2)
    ),
    min_size=1,
    max_size=6,
)


def fill(store: Store, trials: list[tuple[str, set[str], list[float]]]) -> None:
    """Trials in these states, experiments and curves; a trial of no experiment has left `z`."""
    records = [
        replace(record(number), origin="imported", extra={"corpus": "ü, \n", "n": number})
        if state == "imported"
        else record(number, arm=f"a{number}")
        for number, (state, _, _) in enumerate(trials, 1)
    ]
    store.register("z", {"name": "z"}, records)
    for name in "zyx":
        members = [one for one, (_, names, _) in zip(records, trials, strict=True) if name in names]
        spec = {"name": name, "about": "1e3: 'it', ü", "axes": {"task.people": [1, 2]}}
        store.register(name, spec, members[::-1])
    for one, (state, _, values) in zip(records, trials, strict=True):
        if state != "missing":
            play(store, one.digest, state, values)
    draws = {"A": np.array([1 / 3, np.nan]), "alpha": np.array([2.0, -0.0])}
    store.keep_fit(StoredFit("k", "x", "power", 1.5, {"seed": 0}, {"objective": 0.1}, draws))


def play(store: Store, digest: str, state: str, values: list[float]) -> None:
    """Two attempts: one that was interrupted, and one that came to the state."""
    for resumed in (0, 10):
        attempt = store.begin(digest, Started({"device": resumed}, resumed), {"commit": "c"}, "me")
        for step, value in enumerate(values, 10 + resumed):
            store.measure(digest, attempt, Measured(step, {"loss": value}))
        if resumed == 0:
            store.release("me")
    if state == "queued":
        store.release("me")
        return
    final = {"loss": values[-1] if values else 0.5} | ({PRUNED: 20.0} if state == "pruned" else {})
    outcome: Any = {"pruned": "stopped", "imported": "done"}.get(state, state)
    error = "no memory" if state == "failed" else ""
    places = {"model": "/there/model.pt", "note": "data:,a%20note"}
    store.end(digest, attempt, Ended(outcome, 20, 1 / 3, final, error, places))


def everything(store: Store, num_trials: int) -> list[str]:
    """What a store answers, as text: there a NaN is a NaN."""
    tables = (
        frames.trials(store, pruned=True),
        frames.metrics(store),
        frames.attempts(store),
        frames.fits(store),
    )
    experiments = store.experiments()
    members = [store.members(found.name) for found in experiments]
    trials = [store.trial(record(number).digest) for number in range(1, num_trials + 1)]
    draws = [{name: values.tobytes() for name, values in fit.draws.items()} for fit in store.fits()]
    return [
        *(table.write_csv() for table in tables),
        *map(repr, (experiments, members, trials, draws)),
    ]


@contextmanager
def stores(*names: str) -> Iterator[tuple[Path, list[Store]]]:
    """A folder and new stores in it."""
    with TemporaryDirectory() as folder, ExitStack() as stack:
        places = [Path(folder, f"{name}.db") for name in names]
        yield (
            Path(folder),
            [stack.enter_context(open_store(one, mode="write")) for one in places],
        )


@given(TRIALS)
@example([(state, {"x"}, [1 / 3, math.nan]) for state in STATES])
@settings(max_examples=4, deadline=None, derandomize=True)
def test_a_store_is_the_same_after_a_bundle(trials: list[Any]) -> None:
    with stores("here", "there") as (folder, [here, there]):
        fill(here, trials)
        [first] = export(here, folder / "first", "bundle")
        with unpacked(first) as store:
            assert store is not None
            assert merge(there, store) == Merged(len(trials), [], 0)
            assert everything(there, len(trials)) == everything(here, len(trials))
            assert merge(there, store) == Merged(0, [], 0)
        [second] = export(there, folder / "second", "bundle")
        assert second.read_bytes() == first.read_bytes()


def test_a_bundle_of_one_experiment_has_no_other(tmp_path: Path, store: Store) -> None:
    fill(store, [("done", {"x", "y"}, [0.5]), ("failed", {"y"}, [0.25]), ("done", set(), [])])
    [path] = export(store, tmp_path / "one", "bundle", ["x"])
    with unpacked(path) as place, open_store(str(place), mode="read") as found:
        assert [one.name for one in found.experiments()] == ["x"]
        assert frames.trials(found).equals(frames.trials(store, ["x"]))
        assert frames.metrics(found).equals(frames.metrics(store, ["x"]))
        assert [fit.key for fit in found.fits()] == ["k"]


def test_what_runs_is_queued_in_a_bundle(tmp_path: Path, store: Store) -> None:
    store.register("x", {"name": "x"}, [record(1)])
    store.begin(record(1).digest, Started({}), {}, "me")
    assert store.states([record(1).digest]) == {record(1).digest: "running"}
    [path] = export(store, tmp_path / "one", "bundle")
    with unpacked(path) as place, open_store(str(place), mode="read") as found:
        assert found.states([record(1).digest]) == {record(1).digest: "queued"}
        assert [one.state for one in found.trial(record(1).digest).attempts] == ["lost"]


@pytest.fixture(scope="module")
def bundle() -> bytes:
    with stores("here") as (folder, [here]):
        fill(here, [("done", {"x"}, [0.5])])
        return export(here, folder / "b", "bundle")[0].read_bytes()


@given(st.data())
@settings(max_examples=60, deadline=None, derandomize=True)
def test_a_damaged_bundle_is_a_sentence_or_whole(bundle: bytes, data: st.DataObject) -> None:
    at, flipped = data.draw(st.integers(0, len(bundle) - 1)), data.draw(st.integers(0, 255))
    damaged = bytearray(bundle if flipped else bundle[:at])
    if flipped:
        damaged[at] ^= flipped
    with ZipFile(BytesIO(bundle)) as whole, TemporaryDirectory() as folder:
        path = Path(folder, "b.zip")
        path.write_bytes(damaged)
        with suppress(UserError), unpacked(path) as store:
            assert flipped
            assert store is None or store.read_bytes() == whole.read("store.db")


def test_a_bundle_that_lies_about_its_size_is_not_unpacked(bundle: bytes, tmp_path: Path) -> None:
    with ZipFile(BytesIO(bundle)) as whole:
        size = whole.getinfo("store.db").file_size
    for claimed, says in ((2**60, "no room"), (size - 1, "damaged")):
        path = tmp_path / "b.zip"
        path.write_bytes(bundle)
        with ZipFile(path, "a") as altered:
            altered.getinfo("store.db").file_size = claimed
            altered.writestr("note", "")  # has the directory written anew
        with pytest.raises(UserError, match=rf"b\.zip: .*{says}"), unpacked(path):
            pass


@pytest.mark.parametrize("content", [b"", b"These are notes. " * 100, bytes(2**20)])
def test_a_bundle_without_a_database_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "b.zip"
    with ZipFile(path, "w", ZIP_DEFLATED) as bundle:
        bundle.writestr("store.db", content)
    with pytest.raises(UserError, match=r"b\.zip: is no bundle") as raised, unpacked(path):
        pass
    assert raised.value.cure == "export it anew"


def test_another_result_is_named_and_stays(store: Store, new_place: NewPlace) -> None:
    place = new_place()
    digests = [record(number).digest for number in range(1, 6)]
    with open_store(place, mode="write") as other:
        for one, losses in ((store, [0.5] * 5), (other, [0.5, 0.25, math.nan, 0.5, 0.5])):
            one.register("x", {"name": "x"}, [record(number) for number in range(1, 6)])
            for digest, loss in zip(digests, losses, strict=True):
                attempt = one.begin(digest, Started({}), {}, "me")
                seconds = 1.0 if one is store else 2.0
                state = "stopped" if one is other and digest == digests[3] else "done"
                extra = {"accuracy": 1.0} if one is other else {}
                values = {"loss": loss, "seconds": seconds, **extra}
                one.end(digest, attempt, Ended(state, 20, seconds, values))
    for _ in range(2):
        assert merge(store, place) == Merged(0, digests[1:4], 0)
        assert [curve(store, digest)[20, "loss"] for digest in digests] == [0.5] * 5
