"""Fig. 1: its JSON, its threshold, what its chart shows, and what it says."""

import json

import polars as pl
import pytest

from scalelab.core.errors import UserError
from scalelab.report.figure import Drawing, Rows
from scalelab.report.numbers import rounded
from scalelab.report.registry import find

FIGURE = find(1)


def test_the_json_has_the_curves_point_by_point(drawing: Drawing) -> None:
    data = drawing.data
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    assert [curve["recall"] for curve in data["curves"]] == ["in_weight", "in_tool"]
    points = data["curves"][0]["points"]
    assert points[0] == {
        "facts": 32,
        "params_mean": 6248,
        "params_mean_passed": 6248,
        "params_std": 0,
        "replicates": 2,
        "censored": 0,
    }
    assert points[-1] == {
        "facts": 1024,
        "params_mean": 31032,
        "params_mean_passed": 31032,
        "params_std": 0,
        "replicates": 2,
        "censored": 0,
    }


def test_a_point_has_the_spread_of_its_replicates(drawing: Drawing) -> None:
    for point in drawing.data["curves"][1]["points"]:
        assert (point["params_mean"], point["params_std"]) == (
            13_750,
            pytest.approx(4019.19, abs=0.01),
        )


def test_censored_cells_are_open_at_the_largest_size_tried(rows: Rows) -> None:
    fewer = Rows(rows.trials.filter(pl.col("model.width") < 24), rows.specs)
    drawing = FIGURE.draw(fewer)
    point = drawing.data["curves"][0]["points"][-1]
    assert (
        point["params_mean"],
        point["params_mean_passed"],
        point["censored"],
        point["replicates"],
    ) == (None, None, 2, 2)
    (mark,) = [row for row in drawing.panels[0].chart["datasets"]["means"] if row["open"]]
    assert (mark["series"], mark["facts"], mark["params"], mark["low"], mark["high"]) == (
        "in-weight",
        1024,
        16592,
        16592,
        16592,
    )
    assert drawing.data["fits"]["in_weight"]["linear"]["censored"] == 2
    assert any("censored" in sentence for sentence in drawing.reading)


def test_every_mark_leads_to_the_trials_that_decide_it(rows: Rows, drawing: Drawing) -> None:
    known = set(rows.trials["digest"])
    data = drawing.panels[0].chart["datasets"]
    for row in [*data["means"], *data["answers"]]:
        assert row["digests"]
        assert set(row["digests"]) <= known
        assert all(digest[:10] in row["trials"] for digest in row["digests"])
    assert sum(len(row["digests"]) for row in data["answers"]) == 20


def test_only_the_better_in_tool_law_and_the_line_are_drawn(drawing: Drawing) -> None:
    fits, laws = drawing.data["fits"], drawing.panels[0].chart["datasets"]["laws"]
    assert {row["series"] for row in laws} == {"in-weight", "in-tool"}
    assert fits["in_tool"]["better"] == "plateau"
    tool = [row["params"] for row in laws if row["series"] == "in-tool"]
    assert tool == pytest.approx([fits["in_tool"]["plateau"]["value"]] * len(tool))
    line = next(row for row in laws if row["series"] == "in-weight")
    assert line["params"] == pytest.approx(
        fits["in_weight"]["linear"]["intercept"] + 32 * fits["in_weight"]["linear"]["slope"],
        rel=1e-4,
    )
    assert line["low"] <= line["params"] <= line["high"]


def test_the_threshold_is_the_searchs(rows: Rows) -> None:
    spec = {"search": {"kind": "frontier", "metric": "recall", "at_least": 0.4}}
    points = FIGURE.draw(Rows(rows.trials, {"x": spec})).data["curves"][0]["points"]
    assert {point["params_mean"] for point in points} == {2612}


def test_experiments_that_disagree_on_what_passes_are_refused(rows: Rows) -> None:
    specs = {
        "a": {"search": {"kind": "frontier"}},
        "b": {"search": {"kind": "frontier", "at_least": 0.9}},
        "c": {"search": {"kind": "grid"}},
    }
    with pytest.raises(UserError, match="don't agree on what passes"):
        FIGURE.draw(Rows(rows.trials, specs))


def test_one_recall_mode_and_few_cells_are_drawn_without_laws(rows: Rows) -> None:
    drawing = FIGURE.draw(
        Rows(
            rows.trials.filter(pl.col("task.recall") == "in_tool", pl.col("task.people") <= 16),
            rows.specs,
        )
    )
    assert drawing.panels[0].chart["datasets"]["laws"] == []
    assert drawing.data["fits"]["in_tool"]["better"] is None
    assert any("three numbers of facts" in sentence for sentence in drawing.verdict)


def test_nothing_finished_is_no_data(rows: Rows) -> None:
    assert FIGURE.has_data(rows)
    assert not FIGURE.has_data(Rows(rows.trials.with_columns(state=pl.lit("queued")), rows.specs))
    assert not FIGURE.has_data(Rows(rows.trials.drop("metrics.recall"), rows.specs))


def test_cautions_name_what_else_varies_and_where_the_smallest_size_passes(
    rows: Rows, drawing: Drawing
) -> None:
    both = pl.concat(
        [rows.trials.with_columns(pl.lit(lr).alias("optim.lr")) for lr in (0.01, 0.001)]
    )
    said = " ".join(FIGURE.draw(Rows(both.filter(pl.col("model.width") > 8), rows.specs)).methods)
    assert "optim.lr varies too" in said
    assert "the smallest size that was run passes" in said
    assert "varies too" not in " ".join(drawing.methods)


def test_the_verdict_gives_cost_plateau_and_crossing(drawing: Drawing) -> None:
    cost, tool, crossing = drawing.verdict
    assert cost.startswith("In the weights, a fact costs ")
    assert "parameters are enough at every number of facts" in tool
    assert (
        crossing
        == "Up to 256 facts the weights need no larger model than the tool; from 1,024 on, the tool"
        " needs the smaller one."
    )


@pytest.mark.parametrize("word", [1, "1", "fig 1", "fig-1", "Fig. 1", "facts_vs_params"])
def test_a_figure_is_found_by_number_and_name(word: str | int) -> None:
    assert find(word) == FIGURE


def test_an_unknown_figure_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(UserError, match="no figure `77`; known are 1"):
        find(77)
    with pytest.raises(UserError, match="did you mean `facts_vs_params`"):
        find("facts_vs_parms")


def test_data_is_rounded_to_six_digits_and_has_no_nan() -> None:
    assert rounded({"a": [1 / 3, float("nan"), 10, "x", None], "b": (2e9 + 1.0,)}) == {
        "a": [0.333333, None, 10, "x", None],
        "b": [2e9],
    }
