"""Fig. 6: residuals, draws, profiles, starts, influence and hold-out of a fit."""

import json
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab.fit.fit import fit_law
from scalelab.fit.kept import to_store
from scalelab.fit.law import Choices
from scalelab.fit.laws import find as find_law
from scalelab.report.figure import Drawing, Panel, Rows
from scalelab.report.fits.text import MARKS, fewer
from scalelab.report.registry import find

FIGURE = find(6)
FIXED = Choices(fix={"alpha": 0.34, "beta": 0.28}, starts=20)


@pytest.fixture(scope="module")
def drawing(chinchilla: Rows) -> Drawing:
    return FIGURE.draw(chinchilla)


def drawn_with(frame: pl.DataFrame, bootstrap: int = 60, **asked: Any) -> Drawing:
    """The figure of a fit with known exponents that the store keeps."""
    kept = to_store(
        fit_law(frame, find_law("chinchilla"), FIXED, bootstrap=bootstrap, **asked), "grid", 1.0
    )
    return FIGURE.draw(Rows(frame, {"grid": {}}, fits=[kept]))


def panel_of(drawing: Drawing, name: str) -> Panel:
    return next(panel for panel in drawing.panels if panel.name == name)


def data_of(drawing: Drawing, name: str) -> dict[str, list[dict[str, Any]]]:
    return panel_of(drawing, name).chart["datasets"]


def test_every_part_is_there(drawing: Drawing) -> None:
    names = [
        "residuals",
        "spread",
        "pairs",
        "profiles",
        "starts",
        "influence",
        "highest",
        "held-out",
    ]
    assert [panel.name for panel in drawing.panels] == names
    assert json.dumps(drawing.data, allow_nan=False)
    assert "Half of the 240 runs" in drawing.verdict[0]


def test_residuals_are_of_each_run_against_each_column(drawing: Drawing, chinchilla: Rows) -> None:
    runs = data_of(drawing, "residuals")["runs"]
    assert [run["digests"][0] for run in runs] == chinchilla.trials["digest"].to_list()
    for run in runs:
        assert run["residual"] == pytest.approx(100 * np.log(run["loss"] / run["fitted"]), abs=1e-3)
        assert run["ratio"] == pytest.approx(run["tokens"] / run["params"], rel=1e-4)
        assert run["flops"] == pytest.approx(6 * run["tokens"] * run["params"], rel=1e-4)
    assert {row["column"] for row in data_of(drawing, "residuals")["medians"]} == {
        "params",
        "tokens",
        "flops",
        "ratio",
        "fitted",
    }
    assert sum(row["count"] for row in data_of(drawing, "spread")["bins"]) == 240


def test_pairs_that_correlate_most_come_first(drawing: Drawing) -> None:
    data = data_of(drawing, "pairs")
    assert len(data["draws"]) <= 600
    titles = [part["title"] for part in panel_of(drawing, "pairs").chart["concat"]]
    assert {titles[0][:10], titles[1][:11]} <= {
        "B and beta",
        "A and alph",
        "A and alpha",
        "B and beta:",
    }
    assert titles[0].endswith("1.00")


def test_profiles_rise_to_one_at_the_ends_of_the_interval(drawing: Drawing) -> None:
    data = data_of(drawing, "profiles")
    for limit in data["limits"]:
        rows = [row for row in data["profiles"] if row["name"] == limit["name"]]
        at, rise = [row["at"] for row in rows], [row["rise"] for row in rows]
        assert min(rise) == pytest.approx(0, abs=1e-3)
        assert np.interp([limit["low"], limit["high"]], at, rise) == pytest.approx([1, 1], abs=0.03)


def test_starts_are_in_order(drawing: Drawing) -> None:
    above = [row["above"] for row in data_of(drawing, "starts")["starts"]]
    assert above == sorted(above)
    assert len(above) == 500


def test_a_planted_outlier_moves_most(isoflop_grid: pl.DataFrame) -> None:
    planted = isoflop_grid["digest"][0]
    spoilt = (
        pl.when(pl.col("digest") == planted)
        .then(pl.col("metrics.loss") * 1.3)
        .otherwise(pl.col("metrics.loss"))
    )
    drawn = drawn_with(isoflop_grid.with_columns(spoilt.alias("metrics.loss")))
    marks = data_of(drawn, "residuals")["runs"]
    assert max(marks, key=lambda mark: abs(mark["residual"]))["digests"] == [planted]
    drops = data_of(drawn, "highest")["drops"]
    assert [row["moved"] for row in drops if row["k"] == 0] == pytest.approx([0.0] * 3, abs=1e-3)
    assert {row["k"] for row in drops} == {0, 1, 2, 3}
    assert len(data_of(drawn, "influence")["moves"]) == 3 * 20


def test_leaving_a_run_out_moves_as_a_fit_without_it_does(isoflop_grid: pl.DataFrame) -> None:
    drawn = drawn_with(isoflop_grid)
    found = drawn.data["fits"][0]
    without = fit_law(isoflop_grid[1:], find_law("chinchilla"), FIXED, bootstrap=0)
    for name in ("A", "B", "E"):
        assert found["without_configuration"][name][0] == pytest.approx(
            without.coefficients[name], rel=1e-3
        )


def test_without_draws_there_are_neither_pairs_nor_shifts(isoflop_grid: pl.DataFrame) -> None:
    drawn = drawn_with(isoflop_grid, bootstrap=0)
    assert [panel.name for panel in drawn.panels] == [
        "residuals",
        "spread",
        "profiles",
        "starts",
        "held-out",
    ]
    assert any("no bootstrap" in sentence for sentence in drawn.methods)


def test_the_runs_of_most_compute_are_held_out(drawing: Drawing) -> None:
    marks = data_of(drawing, "held-out")["runs"]
    held = [mark for mark in marks if mark["part"] == "held out"]
    assert (len(marks), len(held)) == (240, 36)
    table = panel_of(drawing, "held-out").table
    assert table is not None
    assert {row[0] for row in table.rows} == {mark["digests"][0] for mark in held}
    off = np.mean([abs(mark["predicted"] / mark["actual"] - 1) for mark in held])
    assert drawing.data["fits"][0]["holdout"]["mean_abs_relative_error"] == pytest.approx(
        off, rel=1e-3
    )


def test_a_fits_own_hold_out_is_shown(isoflop_grid: pl.DataFrame) -> None:
    drawn = drawn_with(isoflop_grid, holdout="largest_flops")
    held = [mark for mark in data_of(drawn, "held-out")["runs"] if mark["part"] == "held out"]
    assert len(held) == 7
    assert "largest_flops" in panel_of(drawn, "held-out").caption


def test_of_very_many_runs_the_farthest_are_drawn() -> None:
    marks = [{"residual": float(np.sin(7.0 * at)), "at": at} for at in range(3000)]
    marks[17]["residual"] = -9.0
    shown = fewer(marks)
    assert len(shown) == MARKS
    assert marks[17] in shown
    assert [mark["at"] for mark in shown] == sorted(mark["at"] for mark in shown)


def test_runs_of_facts_have_no_fit(rows: Rows) -> None:
    assert not FIGURE.has_data(rows)
