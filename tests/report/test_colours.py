"""Colours belong to arms and modes: the same whatever else is drawn beside them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from itertools import product
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scalelab.report.arms import Arms
from scalelab.report.charts.colours import MOST, Palette
from scalelab.report.charts.themes import THEMES, to_svg
from scalelab.report.figure import Rows
from scalelab.report.figures.learning_curves.ways import Way
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.report.runs import told_apart
from scalelab.store.store import Store

ARMS = ("plain", "+b", "+a", "looped", "wide", "deep", "tied")
SPECS = {"e": {"arms": {arm: {} for arm in ARMS}, "axes": {"task.recall": [], "model.width": []}}}


@cache
def trials(*names: str, recalls: tuple[str, ...] = ("in_tool", "in_weight")) -> pl.DataFrame:
    """Arms, or widths where there are none, in recall modes, with two seeds."""
    keys = product(names or (4, 8, 16), recalls, (0, 1))
    return pl.DataFrame(
        [
            {
                "digest": f"{name}/{recall}/{seed}",
                "experiment": "e",
                "state": "done",
                "seed": seed,
                "task.recall": recall,
                ("arm" if names else "model.width"): name,
                "metrics.loss": 1.0,
            }
            for name, recall, seed in keys
        ]
    )


Look = tuple[str, str, list[int]]


def told(channel: Any) -> list[Any]:
    """The range of a channel, in the order of its domain."""
    return channel.to_dict(validate=False)["scale"]["range"]


def looks(palette: Palette, labels: Mapping[str, Sequence[str]]) -> dict[str, Look]:
    """Digest -> colour, shape and dash."""
    shapes, dashes = told(palette.shape("x:N")), told(palette.dash("x:N"))
    colours = THEMES["light"]["range"]["category"]
    found = {
        name: (
            colours[at % len(colours)],
            shapes[at],
            dashes[at],
        )
        for at, name in enumerate(palette.names)
    }
    return {digest: found[label] for label, digests in labels.items() for digest in digests}


def of_arms(rows: Rows) -> dict[str, Look]:
    arms = Arms.of(rows, ["metrics.loss"])
    labels: dict[str, list[str]] = {name: [] for name in arms.names}
    for arm in arms.found:
        labels[arm.name] += arm.digests
    return looks(Palette.of_arms(arms, rows), labels)


def of_series(rows: Rows) -> dict[str, Look]:
    way = Way.of(rows, told_apart(rows.trials, rows.specs))
    grouped = way.members.group_by("label").agg("digest")
    return looks(way.colouring.palette, dict(grouped.iter_rows()))


@pytest.mark.parametrize("drawn", [of_arms, of_series])
@pytest.mark.parametrize("names", [ARMS[:5], ()])
@given(st.data())
@settings(max_examples=30)
def test_an_arm_has_its_colour_in_every_subset(
    drawn: Any, names: tuple[str, ...], data: st.DataObject
) -> None:
    every = trials(*names)
    chosen = {
        column: data.draw(
            st.sets(st.sampled_from(every[column].unique().sort().to_list()), min_size=1)
        )
        for column in ("arm" if names else "model.width", "task.recall", "seed")
    }
    kept = every.filter(pl.col(column).is_in(list(values)) for column, values in chosen.items())
    whole = drawn(Rows(every, SPECS))
    found = drawn(Rows(kept, SPECS, filter="some", every=every))
    assert found == {digest: whole[digest] for digest in kept["digest"]}


def test_arms_take_the_colours_in_the_order_of_the_spec_also_those_without_a_result() -> None:
    every = trials(*ARMS, recalls=("in_weight",))
    known = every.with_columns(
        pl.when(pl.col("arm") == "+b").then(pl.lit("queued")).otherwise("state").alias("state")
    )
    rows = Rows(known, SPECS)
    palette = Palette.of_arms(Arms.of(rows, ["metrics.loss"]), rows)
    assert list(palette.shown) == [arm for arm in ARMS if arm != "+b"]
    assert [name.removesuffix(" (left out)") for name in palette.names] == list(ARMS)


@pytest.mark.parametrize("recalls", [("in_tool",), ("in_tool", "in_weight")])
def test_a_recall_mode_alone_has_its_own_colour(recalls: tuple[str, ...]) -> None:
    rows = Rows(trials("a", recalls=recalls), {})
    names = Way.of(rows, told_apart(rows.trials, {})).colouring.palette.names
    assert names[1] == ("recall in_tool" if len(recalls) > 1 else "all runs")


def test_more_than_can_be_told_apart_take_the_colours_of_their_order() -> None:
    every = {f"a{at}": [f"d{at}"] for at in range(MOST + 1)}
    assert Palette.placed({"a24": ["d24"]}, every).names == ["a24"]


def test_a_second_name_of_one_place_takes_a_colour_after_the_last() -> None:
    every = {"a": ["1", "1b"], "b": ["2"], "c": ["3"]}
    parted = Palette.placed({"x": ["1"], "y": ["1b"]}, every)
    assert parted.names == ["x", "b (left out)", "c (left out)", "y"]
    assert Palette.placed({"x": ["1"], "a": ["1b"], "b": ["2"]}, every).names[:2] == ["a", "b"]
    assert Palette.placed({"new": ["9"], "c": ["3"]}, every).names[2:] == ["c", "new"]


def strokes(chart: Any) -> Iterator[str]:
    """The colours of the theme that a picture has, in its lines and marks."""
    colours = THEMES["light"]["range"]["category"]
    for found in re.findall(r'(?:stroke|fill)="(#\w{6})"', to_svg(chart)):
        if found in colours[:2]:
            yield found


def test_in_tool_alone_is_not_drawn_in_the_colour_of_in_weight(rows: Rows) -> None:
    blue, orange = THEMES["light"]["range"]["category"][:2]
    both = find(1).draw(rows).panels[0].chart
    kept = rows.trials.filter(pl.col("task.recall") == "in_tool")
    alone = find(1).draw(Rows(kept, rows.specs, every=rows.trials)).panels[0].chart
    assert set(strokes(both)) == {blue, orange}
    assert set(strokes(alone)) == {orange}


def test_a_filter_leaves_the_legend_and_the_colours_of_a_campaign(campaign: Store) -> None:
    figure = find(9)
    drawn = {}
    for filter in (None, "arm != '+MQA'"):
        rows = Reading(campaign, filter).rows(figure, ["gqa_moe"])
        layers = figure.draw(rows).panels[0].chart["layer"]
        drawn[filter] = layers[-1]["encoding"]["color"]
    whole, part = drawn.values()
    assert part["scale"]["domain"].index("+GQA+MoE") == whole["scale"]["domain"].index("+GQA+MoE")
    assert part["legend"]["values"] == [name for name in whole["scale"]["domain"] if name != "+MQA"]
    assert "values" not in whole["legend"]
