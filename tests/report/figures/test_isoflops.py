"""Fig. 5: profiles and their minima, three ways to the best size, and what is said of them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab.fit.fit import fit_law
from scalelab.fit.kept import to_store
from scalelab.fit.law import Choices
from scalelab.fit.laws import find as find_law
from scalelab.report import check, draw
from scalelab.report.figure import Drawing, Rows
from scalelab.report.figures.isoflops.charts import BEYOND
from scalelab.report.figures.isoflops.figure import apart
from scalelab.report.registry import find
from scalelab.store import open_store
from scalelab.store.adopt import adopt
from scalelab.store.table import read_published

FIGURE = find(5)
TRUE_A = 0.28 / (0.34 + 0.28)


def curves(frame: pl.DataFrame) -> pl.DataFrame:
    """Training curves that fall with the tokens seen, as a run's own law has them."""
    rows = []
    for row in frame.iter_rows(named=True):
        for step in range(1, 21):
            tokens = row["tokens"] * step / 20
            loss = 1.7 + 400 * row["params.total"] ** -0.34 + 410 * tokens**-0.28
            rows.append({"digest": row["digest"], "step": 10 * step, "name": "loss", "value": loss})
    return pl.DataFrame(rows)


@pytest.fixture(scope="module")
def rows(isoflop_grid: pl.DataFrame) -> Rows:
    """The grid with its curves, and a fit of its law with known exponents."""
    choices = Choices(fix={"alpha": 0.34, "beta": 0.28}, starts=20)
    kept = to_store(
        fit_law(isoflop_grid, find_law("chinchilla"), choices, bootstrap=60), "grid", 1.0
    )
    return Rows(isoflop_grid, {"grid": {}}, curves=curves(isoflop_grid), fits=[kept])


@pytest.fixture(scope="module")
def drawing(rows: Rows) -> Drawing:
    return FIGURE.draw(rows)


def data_of(drawing: Drawing, name: str) -> dict[str, list[dict[str, Any]]]:
    return next(panel.chart["datasets"] for panel in drawing.panels if panel.name == name)


def best(flops: float) -> float:
    """N* of the law that the grid obeys."""
    gain = (0.34 * 400 / (0.28 * 410)) ** (1 / 0.62)
    return gain * (flops / 6) ** TRUE_A


def test_each_budget_has_a_profile_with_its_minimum(drawing: Drawing, rows: Rows) -> None:
    data = data_of(drawing, "profiles")
    assert [mark["flops"] for mark in data["minima"]] == pytest.approx(
        [1e18, 3e18, 1e19, 3e19, 1e20], rel=1e-3
    )
    for mark in data["minima"]:
        assert mark["low"] < mark["params"] < mark["high"]
        assert mark["params"] == pytest.approx(best(mark["flops"]), rel=0.35)
        assert len(mark["digests"]) == 7
    assert {digest for run in data["runs"] for digest in run["digests"]} == set(
        rows.trials["digest"]
    )


def test_the_law_is_placed_along_the_tables_own_compute(drawing: Drawing) -> None:
    lines = [
        row for row in data_of(drawing, "size")["lines"] if row["approach"] == "fitted law (3)"
    ]
    for row in lines:
        assert row["value"] == pytest.approx(best(row["flops"]), rel=0.05)
        assert row["low"] <= row["value"] <= row["high"]
    assert max(row["flops"] for row in lines) == pytest.approx(1e21, rel=1e-3)
    assert all(
        (row["part"] == BEYOND) == (row["flops"] > 1e20 * 1.001)
        for row in lines
        if abs(row["flops"] / 1e20 - 1) > 0.01
    )


def test_three_approaches_are_drawn_together(drawing: Drawing) -> None:
    for name in ("size", "tokens", "ratio"):
        shown = {row["approach"] for row in data_of(drawing, name)["lines"]}
        assert shown == {"training-curve envelope (1)", "isoFLOP parabolas (2)", "fitted law (3)"}
    said = " ".join(drawing.methods)
    assert "approach 2's known bias" in said
    assert "approach 1's known bias" in said
    assert len(drawing.verdict) == 3


def test_the_ratio_is_tokens_over_parameters(drawing: Drawing) -> None:
    size, tokens, ratio = (data_of(drawing, name)["lines"] for name in ("size", "tokens", "ratio"))
    for by_size, by_tokens, row in zip(size, tokens, ratio, strict=True):
        assert row["value"] == pytest.approx(by_tokens["value"] / by_size["value"], rel=1e-4)
    assert {row["value"] for row in data_of(drawing, "ratio")["guides"]} == {20.0}
    for mark in data_of(drawing, "ratio")["minima"]:
        assert mark["low"] < mark["value"] < mark["high"]


def test_a_budget_without_a_minimum_among_its_sizes_is_not_used(rows: Rows) -> None:
    whole, few = (
        rows.trials.filter(pl.col("flops") < 9e19),
        rows.trials.filter(pl.col("flops") > 9e19).head(5),
    )
    params = pl.Series("params.total", [round(best(1e20) * 1.5**step) for step in range(1, 6)])
    tokens = (1e20 / (6 * params)).alias("tokens")
    losses = (1.7 + 400 * params**-0.34 + 410 * tokens**-0.28).alias("metrics.loss")
    frame = pl.concat([whole, few.with_columns(params, tokens, losses)])
    drawn = FIGURE.draw(Rows(frame, rows.specs, fits=rows.fits))
    assert any(
        "not" in warned.code for warned in drawn.warnings if warned.code.startswith("minimum")
    )
    table = next(panel.table for panel in drawn.panels if panel.name == "profiles")
    assert table is not None
    assert [row[-1] == "yes" for row in table.rows] == [True] * 4 + [False]
    assert len(data_of(drawn, "size")["minima"]) == 4


def test_without_curves_and_law_the_profiles_still_draw(isoflop_grid: pl.DataFrame) -> None:
    two = isoflop_grid.filter(pl.col("flops") < 4e18).filter(pl.col("flops") > 2e18)
    drawn = FIGURE.draw(Rows(two.head(4), {"grid": {}}))
    assert [panel.name for panel in drawn.panels] == ["profiles"]
    assert "No way to the best size" in drawn.verdict[0]
    json.dumps(drawn.data, allow_nan=False)


def test_sizes_that_hardly_differ_and_mixed_tasks_are_no_profiles(
    isoflop_grid: pl.DataFrame,
) -> None:
    near = isoflop_grid.with_columns(
        (10_000_000 + pl.col("params.total") // 1_000_000).alias("params.total")
    )
    assert not FIGURE.has_data(Rows(near, {"grid": {}}))
    tasks = isoflop_grid.with_columns(pl.Series("task.people", [8, 16, 32, 64, 128] * 7))
    assert not FIGURE.has_data(Rows(tasks, {"grid": {}}))


def test_the_public_table_agrees_over_two_approaches(chinchilla: Rows) -> None:
    drawn = FIGURE.draw(chinchilla)
    exponents = [float(row[1]) for row in drawn.tables[0].rows]
    assert exponents == pytest.approx([0.49] * 2 + [0.514] * 2, abs=0.03)


def test_what_was_just_drawn_is_up_to_date(tmp_path: Path) -> None:
    tables = Path(__file__).parents[2] / "tables"
    with open_store(tmp_path / "runs.db", mode="write") as store:
        adopt(
            store, read_published(tables / "chinchilla_epoch_245.csv", tables / "chinchilla.yaml")
        )
        draw(store, 5, filter="metrics.loss < 3.42", out=tmp_path / "out")
        assert check(store, tmp_path / "out") == []


def test_names_that_would_cover_each_other_are_left_out() -> None:
    names = [
        {"params": 1e6, "loss": 3.0, "text": "a"},
        {"params": 1.05e6, "loss": 2.99, "text": "b"},
        {"params": 1e7, "loss": 2.5, "text": "c"},
    ]
    assert [name["text"] for name in apart(names, [], (1e5, 1e8), (2.0, 4.0))] == ["a", "c"]
    mark = {"params": 1e7, "loss": 2.5 * 2**0.03}
    assert [name["text"] for name in apart(names, [mark], (1e5, 1e8), (2.0, 4.0))] == ["a"]
    assert np.isfinite([name["loss"] for name in names]).all()
