"""Polars frames, on both kinds of database."""

import math
import subprocess
import sys
from dataclasses import replace

import polars as pl
import pytest
from tests.store.conftest import record

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.store import frames
from scalelab.store.store import Store

A, B, C = record(1), record(2), record(3)
HERE = {"commit": "c0ffee", "dirty": None}


def finish(store: Store, digest: str, environment: dict[str, str | None] = HERE) -> None:
    attempt = store.begin(digest, Started({"device": "cpu"}), environment, "me")
    store.measure(digest, attempt, Measured(10, {"loss": 2.0, "recall": math.nan}))
    store.end(digest, attempt, Ended("done", 100, 2.0, {"recall": 0.5}))


@pytest.fixture
def filled(store: Store) -> Store:
    store.register("x", {"name": "x"}, [B, A])
    store.register(
        "y",
        {"name": "y"},
        [
            replace(A, axes={"optim.lr": 0.5}, replicate=7),
            replace(C, steps=0, tokens=0, flops=0, exposures=0.0),
        ],
    )
    finish(store, A.digest)
    return store


def test_a_row_for_each_membership_in_the_order_of_the_plan(filled: Store) -> None:
    frame = frames.trials(filled)
    assert frame["digest"].to_list() == [B.digest, A.digest, A.digest, C.digest]
    assert frame["experiment"].to_list() == ["x", "x", "y", "y"]
    assert frame["state"].to_list() == ["missing", "done", "done", "missing"]
    assert frame["replicate"].to_list() == [0, 0, 7, 0]


def test_every_spec_path_is_a_column(filled: Store) -> None:
    frame = frames.trials(filled, ["x"])
    assert {
        path: frame[path].to_list()
        for path in ("task.people", "model.ffn.width", "task.recall", "optim.clip", "seed")
    } == {
        "task.people": [2, 1],
        "model.ffn.width": [16, 16],
        "task.recall": ["in_weight", "in_weight"],
        "optim.clip": [None, None],
        "seed": [0, 0],
    }
    assert frame["optim.betas"].to_list() == ["[0.9, 0.95]"] * 2
    assert frame["params.total"].to_list() == [1002, 1001]
    assert frame.schema["task.people"] == pl.Int64


def test_what_a_row_does_not_have_is_null(filled: Store) -> None:
    frame = frames.trials(filled, ["y"])
    assert frame["optim.lr"].to_list() == [0.5, None]
    assert frame["metrics.recall"].to_list() == [0.5, None]
    assert frame["commit"].to_list() == ["c0ffee", None]
    assert frame.select("steps", "tokens", "exposures", "flops").rows() == [
        (100, 12_800, 12.5, float(2**70)),
        (None,) * 4,
    ]
    assert frame.select("step", "seconds").rows() == [(100, 2.0), (None, None)]


def test_the_code_of_a_trial_is_that_of_its_last_attempt(filled: Store) -> None:
    attempt = filled.begin(B.digest, Started({}), HERE, "me")
    filled.end(B.digest, attempt, Ended("failed", 1, 1.0))
    finish(filled, B.digest, {"commit": "beef", "dirty": "d1"})
    row = frames.trials(filled, ["x"]).row(0, named=True)
    assert (row["commit"], row["dirty"]) == ("beef", "d1")
    assert filled.environments()[row["environment"]] == {"commit": "beef", "dirty": "d1"}


def test_curves_by_experiment_and_name(filled: Store) -> None:
    finish(filled, C.digest)
    frame = frames.metrics(filled, ["x"])
    assert frame.columns == ["digest", "step", "name", "value"]
    assert frame.rows()[0] == (A.digest, 10, "loss", 2.0)
    assert frame.filter(name="recall")["value"].is_nan().to_list() == [True, False]
    assert frames.metrics(filled, names=["loss"]).rows() == [
        (A.digest, 10, "loss", 2.0),
        (C.digest, 10, "loss", 2.0),
    ]


def test_attempts_with_their_numerics(filled: Store) -> None:
    frame = frames.attempts(filled, ["y"])
    assert frame.select("digest", "state", "seconds", "numerics").rows() == [
        (A.digest, "done", 2.0, '{"device": "cpu"}')
    ]


def test_an_empty_store_has_empty_frames(store: Store) -> None:
    assert frames.trials(store).shape == (0, len(frames.SCHEMA))
    assert frames.metrics(store).is_empty()
    assert frames.attempts(store).columns == list(frames.ATTEMPT_SCHEMA)


@pytest.mark.parametrize("frame", [frames.trials, frames.metrics, frames.attempts])
def test_an_unknown_experiment_is_a_sentence(filled: Store, frame: type[pl.DataFrame]) -> None:
    with pytest.raises(UserError, match="no experiment `z`; known are `x`, `y`"):
        frame(filled, ["z"])


def test_recording_imports_neither_polars_nor_torch() -> None:
    script = (
        "import sys, scalelab.store.store, scalelab.store.opening as o; print(*({'polars', 'torch',"
        " 'ray'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True
        ).stdout
        == "\n"
    )
