"""What leaves a store."""

import json
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import polars as pl
import pytest
import yaml
from tests.store.conftest import record

from scalelab.core.errors import UserError
from scalelab.core.events import Ended, Measured, Started
from scalelab.store import frames
from scalelab.store.export import export
from scalelab.store.fits import StoredFit
from scalelab.store.store import Store

A, B = record(1), record(2)


@pytest.fixture
def filled(store: Store) -> Store:
    store.register("x", {"name": "x", "about": 'say, "what"'}, [A])
    store.register("y", {"name": "y"}, [B])
    for trial in (A, B):
        attempt = store.begin(
            trial.digest, Started({"device": "cpu"}), {"commit": trial.digest[:6]}, "me"
        )
        store.measure(trial.digest, attempt, Measured(10, {"loss": 1 / 3}))
        store.end(trial.digest, attempt, Ended("done", 100, 2.0, {"recall": 0.5}))
    for key, experiment in (("k1", "x"), ("k2", "y")):
        store.keep_fit(
            StoredFit(
                key,
                experiment,
                "power",
                1.0,
                {"seed": 0},
                {"objective": 0.5},
                {"A": np.array([1 / 3, 2.0])},
            )
        )
    return store


def test_csv_and_parquet_hold_the_frames(filled: Store, tmp_path: Path) -> None:
    for format, read in (("csv", pl.read_csv), ("parquet", pl.read_parquet)):
        trials, metrics, attempts, fits = paths = export(filled, tmp_path / "out", format)
        assert [path.name for path in paths] == [
            f"{name}.{format}" for name in ("trials", "metrics", "attempts", "fits")
        ]
        assert read(metrics).equals(frames.metrics(filled))
        assert read(trials)["digest"].to_list() == [A.digest, B.digest]
        assert read(attempts).height == 2
        assert read(fits)["key"].to_list() == ["k1", "k2"]


def test_a_bundle_holds_it_all(filled: Store, tmp_path: Path) -> None:
    [path] = export(filled, tmp_path / "appendix", "bundle", ["x"])
    assert path == tmp_path / "appendix.zip"
    with ZipFile(path) as bundle:
        names = [
            "README.txt",
            "attempts.csv",
            "draws/k1.csv",
            "environments.json",
            "fits.csv",
            "metrics.csv",
            "specs/x.yaml",
            "store.db",
            "trials.csv",
        ]
        assert bundle.namelist() == names
        assert yaml.safe_load(bundle.read("specs/x.yaml")) == {"name": "x", "about": 'say, "what"'}
        trials = pl.read_csv(bundle.read("trials.csv"))
        assert trials["digest"].to_list() == [A.digest]
        assert list(json.loads(bundle.read("environments.json")).items()) == [
            (trials["environment"][0], {"commit": A.digest[:6]})
        ]
        assert pl.read_csv(bundle.read("metrics.csv"))["value"].to_list() == [1 / 3, 0.5]
        assert pl.read_csv(bundle.read("draws/k1.csv"))["A"].to_list() == [1 / 3, 2.0]


def test_the_same_store_gives_the_same_bundle(filled: Store, tmp_path: Path) -> None:
    first, second = (
        export(filled, tmp_path / name, "bundle")[0].read_bytes() for name in ("a.zip", "b.zip")
    )
    assert first == second


def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing(
    filled: Store, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        export(filled, tmp_path / "file" / "out", "csv")
    with pytest.raises(UserError, match="no experiment `z`"):
        export(filled, tmp_path / "out", "csv", ["z"])
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith("store")] == [
        "file"
    ]
