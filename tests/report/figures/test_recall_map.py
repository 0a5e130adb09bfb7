"""Fig. 2: its planes, what its lines may say, its companions, and what it concludes."""

import json
from typing import Any

import polars as pl
import pytest

from scalelab.report.figure import Drawing, Panel, Rows
from scalelab.report.figures.recall_map.figure import RecallMap

FIGURE = RecallMap(
    2,
    "recall_map",
    "What is recalled, at which size?",
    "facts_vs_params",
    "specs/facts_vs_params.yaml",
)
SPECS = {"facts_vs_params": {"search": {"kind": "frontier"}}}


def trial(people: int, size: int, recall: float, **changed: Any) -> dict[str, Any]:
    plain = {
        "digest": f"{people}/{size}/{changed}".ljust(40, "0"),
        "experiment": "facts_vs_params",
        "state": "done",
        "seed": 0,
        "task.people": people,
        "task.recall": "in_weight",
        "task.dependence": 0.0,
        "params.total": size,
        "metrics.recall": recall,
        "metrics.recall_unseen": 0.02,
        "metrics.recall_permuted": None,
    }
    return {**plain, **changed}


def rows(*trials: dict[str, Any]) -> Rows:
    return Rows(pl.DataFrame(list(trials), infer_schema_length=None), SPECS)


def grid(**changed: Any) -> list[dict[str, Any]]:
    """Recall rises with the size, later for more people."""
    return [
        trial(people, size, min(1.0, size / (250 * people)), **changed)
        for people in (8, 16, 32)
        for size in (1000, 2000, 4000, 8000, 16000)
    ]


def panel(drawing: Drawing, name: str) -> Panel:
    return next(panel for panel in drawing.panels if panel.name == name)


def test_every_square_leads_to_its_trials_and_the_json_has_them_all() -> None:
    drawing = FIGURE.draw(rows(*grid()))
    found = panel(drawing, "recall-in-weight").chart["datasets"]["places"]
    assert len(found) == 15
    assert all(
        len(row["digests"]) == 1 and row["digests"][0][:10] in row["trials"] for row in found
    )
    assert json.loads(json.dumps(drawing.data, allow_nan=False)) == drawing.data
    assert len(drawing.data["planes"][0]["places"]) == 15


def test_on_a_full_grid_the_lines_follow_the_recall() -> None:
    lines = panel(FIGURE.draw(rows(*grid())), "recall-in-weight").chart["datasets"]["contours"]
    assert {row["level"] for row in lines} == {0.5, 0.9, 0.95, 0.99}
    for row in lines:
        if row["level"] == 0.5 and row["x"] in (32, 64, 128):
            assert row["y"] == pytest.approx(0.5 * 250 * row["x"] / 4, rel=0.01)


def test_lines_stay_between_sizes_that_were_tried() -> None:
    fewer = [
        one
        for one in grid()
        if 100 * one["task.people"] < one["params.total"] < 600 * one["task.people"]
    ]
    chart = panel(FIGURE.draw(rows(*fewer)), "recall-in-weight").chart["datasets"]
    ends = {
        people: (min(sizes), max(sizes))
        for people in (8, 16, 32)
        if (sizes := [r["params"] for r in chart["places"] if r["facts"] == 4 * people])
    }
    assert chart["contours"]
    for row in chart["contours"]:
        if row["x"] / 4 in ends:
            low, high = ends[row["x"] / 4]
            assert low <= row["y"] <= high


def test_a_line_above_what_stopped_trials_reached_is_an_upper_bound() -> None:
    stopped = [
        (
            {**one, "state": "stopped", "metrics.recall": 0.96}
            if one["metrics.recall"] >= 0.95
            else one
        )
        for one in grid()
    ]
    drawing = FIGURE.draw(rows(*stopped))
    lines = panel(drawing, "recall-in-weight").chart["datasets"]["contours"]
    assert {row["part"] for row in lines if row["level"] <= 0.95} == {"contour"}
    assert {row["part"] for row in lines if row["level"] > 0.95} <= {"at most here"}
    assert [warned.code for warned in drawing.warnings] == ["stopped_used"]
    assert FIGURE.draw(rows(*grid())).warnings == []


def test_models_that_answer_for_strangers_have_a_rule() -> None:
    facts, rule = (
        FIGURE.draw(rows(*grid())),
        FIGURE.draw(rows(*grid(**{"metrics.recall_unseen": 0.97}))),
    )
    assert "they know facts, and have no rule" in " ".join(facts.verdict)
    assert (
        "up to 97 % in the weights (at least half from 32 facts on) of the facts about people never"
        " trained on" in rule.verdict[-1]
    )
    assert rule.verdict[-1].endswith("they have a rule from there on.")
    assert {one.name for one in facts.panels} == {"recall-in-weight", "recall-unseen-in-weight"}


def test_the_verdict_names_the_sizes_of_the_most_facts() -> None:
    said = FIGURE.draw(rows(*grid())).verdict[0]
    assert (
        said
        == "Of 128 facts, the weights recall half at about 4K parameters and 95 % at about 7.46K."
    )


def test_sizes_against_dependence_are_drawn_where_it_varies() -> None:
    some = [
        trial(32, size, float(size >= need), **{"task.dependence": share, "seed": seed})
        for share, need in ((0.0, 16000), (0.5, 8000), (1.0, 4000))
        for size in (1000, 2000, 4000, 8000, 16000)
        for seed in (0, 1)
    ]
    drawing = FIGURE.draw(rows(*some))
    assert [one.name for one in drawing.panels] == ["dependence"]
    marks = drawing.panels[0].chart["datasets"]["needed"]
    assert [(row["dependence"], row["params"], row["open"]) for row in marks] == [
        (0, 16000, False),
        (0.5, 8000, False),
        (1, 4000, False),
    ]
    assert all(len(row["digests"]) == 2 for row in marks)
    assert drawing.verdict == [
        "From a dependence of 0 to 1, 128 facts in the weights need from 16K to 4K parameters."
    ]
    assert [one["params_mean"] for one in drawing.data["dependence"]] == [16000, 8000, 4000]


def test_the_planes_are_those_of_the_least_dependence() -> None:
    both = [
        *grid(),
        *[
            {**one, "digest": f"x{one['digest']}", "metrics.recall": 1.0, "task.dependence": 1.0}
            for one in grid()
        ],
    ]
    drawing = FIGURE.draw(rows(*both))
    assert panel(drawing, "recall-in-weight").chart["datasets"]["places"][0]["value"] == 0.5
    assert "The planes are those of the least dependence." in drawing.methods


def test_nothing_finished_or_one_number_of_facts_is_no_data() -> None:
    assert FIGURE.has_data(rows(*grid()))
    assert not FIGURE.has_data(rows(*grid(state="queued")))
    assert not FIGURE.has_data(rows(*[one for one in grid() if one["task.people"] == 8]))
    assert not FIGURE.has_data(Rows(pl.DataFrame({"digest": []}), {}))


def test_what_else_varies_is_a_warning() -> None:
    both = [
        {**one, "optim.lr": lr, "digest": f"{lr}{one['digest']}"}
        for one in grid()
        for lr in (0.1, 0.01)
    ]
    assert [warned.code for warned in FIGURE.draw(rows(*both)).warnings] == ["others_vary"]


def test_the_same_rows_in_any_order_give_the_same_drawing() -> None:
    table = rows(*grid())
    assert FIGURE.draw(Rows(table.trials.reverse(), SPECS)) == FIGURE.draw(table)
