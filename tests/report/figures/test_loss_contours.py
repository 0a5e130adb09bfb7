"""Fig. 4: its contours, runs, frontier and band, which fit it draws, and what it says."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab.fit.fit import ENGINE, fit_law
from scalelab.fit.kept import to_store
from scalelab.fit.law import Choices
from scalelab.fit.laws import find as find_law
from scalelab.report.figure import Drawing, Rows
from scalelab.report.figures.loss_contours.charts import BEYOND, WITHIN
from scalelab.report.figures.loss_contours.hull import Hull
from scalelab.report.figures.loss_contours.labels import clear_labels
from scalelab.report.figures.loss_contours.surface import levels
from scalelab.report.numbers import MINUS
from scalelab.report.reading import fingerprint
from scalelab.report.registry import find
from scalelab.store.fits import StoredFit

FIGURE = find(4)


@pytest.fixture(scope="module")
def drawing(chinchilla: Rows) -> Drawing:
    return FIGURE.draw(chinchilla)


@pytest.fixture(scope="module")
def grid(isoflop_grid: pl.DataFrame) -> Rows:
    return Rows(isoflop_grid, {"grid": {}})


def fixed(frame: pl.DataFrame, experiment: str) -> StoredFit:
    """A fit with known exponents, which takes no time, as a store keeps it."""
    choices = Choices(fix={"alpha": 0.34, "beta": 0.28}, starts=20)
    return to_store(fit_law(frame, find_law("chinchilla"), choices, bootstrap=60), experiment, 1.0)


@pytest.fixture(scope="module")
def kept(grid: Rows) -> StoredFit:
    return fixed(grid.trials, "grid")


def data_of(drawing: Drawing, panel: int = 0) -> dict[str, list[dict[str, Any]]]:
    return drawing.panels[panel].chart["datasets"]


def law(drawing: Drawing, params: float, tokens: float) -> float:
    found = {
        name: one["value"] for name, one in drawing.data["fits"][0]["fit"]["coefficients"].items()
    }
    return (
        found["E"] + found["A"] * params ** -found["alpha"] + found["B"] * tokens ** -found["beta"]
    )


def test_it_has_the_published_optimum(drawing: Drawing) -> None:
    found = drawing.data["fits"][0]
    assert json.loads(json.dumps(drawing.data, allow_nan=False)) == json.loads(
        json.dumps(drawing.data)
    )
    assert found["fit"]["objective"] == pytest.approx(0.001018274, rel=1e-5)
    assert found["fit"]["coefficients"]["alpha"]["value"] == pytest.approx(0.3473, abs=1e-4)
    assert found["exponent"] == pytest.approx(found["fit"]["derived"]["a"]["value"], abs=1e-4)
    assert found["exponent_ci95"][0] < found["exponent"] < found["exponent_ci95"][1]
    assert (
        drawing.verdict[0].replace(MINUS, "-") == "loss = 1.817 + 477.8·N^-0.3473 + 2143·D^-0.3672."
    )
    assert [panel.name for panel in drawing.panels] == ["contours", "compute"]


def test_every_point_of_a_contour_has_its_loss(drawing: Drawing) -> None:
    rows = data_of(drawing)["contours"]
    assert len({row["level"] for row in rows}) >= 8
    for row in rows:
        assert law(drawing, row["x"], row["y"]) == pytest.approx(row["level"], rel=3e-3)
    assert {row["text"] for row in data_of(drawing)["labels"]} <= {
        f"{row['level']:g}" for row in rows
    }


def test_contours_are_solid_among_the_runs_only(drawing: Drawing) -> None:
    rows, runs = data_of(drawing)["contours"], data_of(drawing)["runs"]
    within = [row for row in rows if row["part"] == WITHIN]
    most = max(run["params"] * run["tokens"] for run in runs)
    assert within
    assert any(row["part"] == BEYOND for row in rows)
    assert all(row["x"] * row["y"] <= most * 1.001 for row in within)


def test_every_run_leads_to_its_trial(drawing: Drawing, chinchilla: Rows) -> None:
    runs = data_of(drawing)["runs"]
    assert [run["digests"] for run in runs] == [[digest] for digest in chinchilla.trials["digest"]]
    assert [run["loss"] for run in runs] == pytest.approx(
        chinchilla.trials["metrics.loss"].to_list(), rel=1e-5
    )
    table = drawing.panels[0].table
    assert table is not None
    assert len(table.rows) == 240


def test_the_frontier_is_the_best_split_and_dashed_beyond_the_largest_run(drawing: Drawing) -> None:
    frontier = data_of(drawing)["frontier"]
    largest = max(6 * run["params"] * run["tokens"] for run in data_of(drawing)["runs"])
    for row in frontier:
        here = law(drawing, row["params"], row["tokens"])
        assert all(
            law(drawing, row["params"] * by, row["tokens"] / by) > here for by in (0.8, 1.25)
        )
        assert row["low"] < row["tokens"] < row["high"]
        assert (row["part"] == WITHIN) == (
            6 * row["params"] * row["tokens"] <= largest * 1.0001
        ) or row["i"] == 35
    assert max(row["params"] * row["tokens"] * 6 for row in frontier) == pytest.approx(
        10 * largest, rel=1e-3
    )


def test_one_more_run_is_less_sure_than_the_law(drawing: Drawing) -> None:
    for row in data_of(drawing, 1)["frontier"]:
        assert row["run_low"] < row["low"] < row["loss"] < row["high"] < row["run_high"]


def test_the_same_rows_give_the_same_bytes(drawing: Drawing, chinchilla: Rows) -> None:
    again = FIGURE.draw(chinchilla)
    assert json.dumps([panel.chart for panel in again.panels]) == json.dumps(
        [panel.chart for panel in drawing.panels]
    )


def test_the_methods_say_how_the_fit_was_made(drawing: Drawing) -> None:
    said = " ".join(drawing.methods)
    for words in (
        "E + A*N^-alpha + B*D^-beta",
        "the sum (not the mean)",
        "δ = 0.001",
        "240 runs of 240",
        "6 params.total",
        "1,000 bootstrap",
    ):
        assert words in said
    assert {warned.code for warned in drawing.warnings} >= {
        "one_per_configuration",
        "extrapolation",
    }


def test_a_kept_fit_of_the_same_rows_is_drawn_and_no_other(grid: Rows, kept: StoredFit) -> None:
    drawn = FIGURE.draw(Rows(grid.trials, grid.specs, fits=[kept]))
    found = drawn.data["fits"][0]["fit"]["coefficients"]
    assert (found["alpha"]["value"], found["beta"]["value"]) == (0.34, 0.28)
    assert "alpha fixed at 0.34" in " ".join(drawn.methods)
    assert data_of(drawn)["frontier"][0]["low"] < data_of(drawn)["frontier"][0]["high"]
    few = grid.trials.head(4)  # too few for a fit of their own
    assert not FIGURE.has_data(Rows(few, grid.specs, fits=[kept]))
    assert FIGURE.has_data(Rows(few, grid.specs, fits=[fixed(few, "grid")]))


def of_source(
    stored: StoredFit, filter: str | None, experiments: tuple[str, ...] = ("grid",)
) -> StoredFit:
    """The fit as `scalelab fit --filter` keeps it."""
    return replace(
        stored,
        record={**stored.record, "source": {"experiments": list(experiments), "filter": filter}},
    )


def test_methods_say_whether_the_fit_is_the_stores(
    grid: Rows, kept: StoredFit, drawing: Drawing
) -> None:
    assert "Fitted here with 1,000 draws." in drawing.methods
    assert not any(
        "kept in the store" in said or "The store keeps" in said for said in drawing.methods
    )
    for figure in (4, 5, 6):
        said = find(figure).draw(replace(grid, fits=[kept])).methods
        assert "The fit kept in the store." in said
        assert not any(
            "Fitted here" in sentence or "The store keeps" in sentence for sentence in said
        )


@pytest.mark.parametrize(
    ("theirs", "mine", "words"),
    [
        ("flops < 5e19", None, "(filter `flops < 5e19`): draw it with `--filter 'flops < 5e19'`."),
        (None, "flops > 0", "(no filter): draw it without `--filter`."),
        (
            "flops > 0",
            "flops > 0",
            "(filter `flops > 0`): the rows have changed since; fit these with `scalelab fit`.",
        ),
    ],
)
def test_a_kept_fit_of_other_rows_is_named(
    grid: Rows, kept: StoredFit, theirs: str | None, mine: str | None, words: str
) -> None:
    other = of_source(fixed(grid.trials.head(28), "grid"), theirs)
    said = FIGURE.draw(replace(grid, fits=[kept, other], filter=mine, before=35)).methods
    assert "The fit kept in the store." in said
    assert f"The store keeps a fit of 28 other rows {words}" in said


def test_a_fit_of_several_experiments_is_not_offered(grid: Rows, kept: StoredFit) -> None:
    other = of_source(fixed(grid.trials.head(28), "grid"), None, ("grid", "more"))
    assert not any(
        "The store keeps" in said for said in FIGURE.draw(replace(grid, fits=[kept, other])).methods
    )


def test_a_fit_that_an_older_engine_made_is_fitted_again_with_its_law_and_choices(
    grid: Rows, kept: StoredFit
) -> None:
    record = {name: value for name, value in kept.record.items() if name != "cross_check"}
    older = replace(kept, key="an older engine's", record=record | {"engine": 0}, result={})
    drawn = FIGURE.draw(replace(grid, fits=[older]))
    found = drawn.data["fits"][0]["fit"]
    taken_back = FIGURE.draw(replace(grid, fits=[kept])).data["fits"][0]["fit"]
    assert found["coefficients"] == taken_back["coefficients"]
    assert (found["record"]["engine"], found["record"]["bootstrap"]["asked"]) == (ENGINE, 60)
    said = " ".join(drawn.methods)
    assert "Fitted again here with 60 draws" in said
    assert "The fit kept in the store" not in said


def test_a_page_is_drawn_again_where_the_engine_of_its_fits_is_another(
    grid: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = find("learning_curves")
    before = [fingerprint(figure, grid) for figure in (FIGURE, curves)]
    monkeypatch.setattr("scalelab.report.reading.ENGINE", ENGINE + 1)
    after = [fingerprint(figure, grid) for figure in (FIGURE, curves)]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True]


def test_several_experiments_have_panels_each(grid: Rows, kept: StoredFit) -> None:
    other = grid.trials.with_columns(
        experiment=pl.lit("other one"), digest=pl.col("digest").str.reverse()
    )
    both = Rows(
        pl.concat([grid.trials, other]),
        {"grid": {}, "other one": {}},
        fits=[kept, fixed(other, "other one")],
    )
    drawn = FIGURE.draw(both)
    assert [panel.name for panel in drawn.panels] == [
        "contours-grid",
        "compute-grid",
        "contours-other-one",
        "compute-other-one",
    ]
    assert drawn.verdict[0].startswith("grid: ")


@pytest.mark.parametrize(
    "changed", [{"metrics.loss": None}, {"state": "failed"}, {"tokens": 1e9, "flops": None}]
)
def test_without_what_a_surface_needs_there_is_no_figure(
    grid: Rows, changed: dict[str, Any]
) -> None:
    assert FIGURE.has_data(grid)
    frame = grid.trials.with_columns(**{name: pl.lit(value) for name, value in changed.items()})
    assert not FIGURE.has_data(Rows(frame, grid.specs))


def test_runs_of_several_tasks_are_no_surface(rows: Rows, grid: Rows) -> None:
    assert not FIGURE.has_data(rows)
    people = pl.Series("task.people", [8, 16] * 17 + [8])
    assert not FIGURE.has_data(Rows(grid.trials.with_columns(people), grid.specs))


def test_lines_are_cut_where_they_leave_the_hull() -> None:
    line = [{"x": float(x), "y": 1.0, "level": 2.0, "path": 0, "i": x} for x in range(1, 9)]
    hull = Hull.of(np.array([2.5, 2.5, 5.5, 5.5]), np.array([0.5, 2.0, 0.5, 2.0]))
    cut = hull.parted(line, "in", "out")
    found = [(row["x"], row["path"], row["part"]) for row in cut]
    before, among = [(x, 0, "out") for x in (1, 2, 3)], [(x, 1, "in") for x in (3, 4, 5, 6)]
    assert found == [*before, *among, *((x, 2, "out") for x in (6, 7, 8))]
    straight = Hull.of(np.array([1.0, 2.0, 4.0]), np.array([1.0, 2.0, 4.0]))
    assert {row["part"] for row in straight.parted(line, "in", "out")} == {"out"}


def test_labels_keep_off_the_marks() -> None:
    line = [
        {"x": float(10 ** (at / 50)), "y": 3.0, "level": 2.0, "path": 0, "i": at}
        for at in range(101)
    ]
    window = ((1.0, 100.0), (1.0, 10.0))
    (free,) = clear_labels(line, [], window)
    (moved,) = clear_labels(line, [(free["x"], 3.0)], window)
    assert abs(np.log(moved["x"] / free["x"])) > 0.03 * np.log(100)


def test_levels_are_round_and_apart() -> None:
    found = levels(1.8 + np.geomspace(0.2, 4.0, 500))
    assert 8 <= len(found) <= 13
    assert all(len(f"{level:g}") <= 4 for level in found)
    assert found == sorted(set(found))


def test_runs_that_differ_in_more_than_the_law_knows_are_warned_of(grid: Rows) -> None:
    frame = grid.trials.with_columns(
        pl.Series("extra.dataset", ["c4", "pile"] * 17 + ["c4"]),
        pl.Series("extra.run", map(str, range(35))),
    )
    drawn = FIGURE.draw(Rows(frame, grid.specs, fits=[fixed(frame, "grid")]))
    (warned,) = [warned for warned in drawn.warnings if warned.code == "mixed_runs"]
    assert "`extra.dataset` differs" in warned.text
    assert "extra.run" not in warned.text
