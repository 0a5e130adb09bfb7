"""Fig. 10: loads from a store as heat maps, the router's curves, dead experts, and as much as a
page can hold.
"""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scalelab import report
from scalelab.core.events import Measured, Started
from scalelab.report.charts.themes import to_svg
from scalelab.report.figure import Rows
from scalelab.report.figures.expert_load.charts import CELLS, load_chart
from scalelab.report.figures.expert_load.data import experts_of
from scalelab.report.numbers import NONE
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.store import open_store
from scalelab.store.store import Store

Fill = Callable[..., Any]


def rows_of(store: Store) -> Rows:
    return Reading(store).rows(find(10), ["gqa_moe"])


def test_the_heat_map_holds_one_replicates_loads_and_its_digest(campaign: Store) -> None:
    rows = rows_of(campaign)
    panels = {panel.name: panel for panel in find(10).draw(rows).panels}
    assert list(panels) == ["load", "max-vio", "router-entropy"]  # nothing was dropped
    cells = panels["load"].chart["datasets"]["loads"]
    assert len(cells) == 4 * 15 * 8
    first = rows.trials.filter(pl.col("arm") == "+GQA+MoE", pl.col("seed") == 0)["digest"].item()
    point = rows.curves.filter(
        pl.col("digest") == first, pl.col("name") == "load_2_5", pl.col("step") == 192
    )["value"].item()
    (cell,) = [row for row in cells if (row["layer"], row["expert"], row["step"]) == (2, 5, 192)]
    assert cell["load"] == pytest.approx(15 * point, rel=1e-5)
    assert first in json.dumps(panels["load"].chart)
    assert "seed 0 of +GQA+MoE (3 replicates)" in panels["load"].caption
    assert ">layer 3<" in to_svg(panels["load"].chart)


def test_curves_are_means_over_the_replicates(campaign: Store) -> None:
    rows = rows_of(campaign)
    _, max_vio, entropy = find(10).draw(rows).panels
    wanted = rows.curves.filter(pl.col("name") == "max_vio_3", pl.col("step") == 98)["value"]
    assert len(wanted) == 3
    (place,) = [
        row for row in max_vio.chart["datasets"]["curves"] if (row["layer"], row["step"]) == (3, 98)
    ]
    assert place["value"] == pytest.approx(wanted.mean(), rel=1e-5)
    assert entropy.chart["datasets"]["even"] == [{"value": math.log(15), "text": "even: ln 15"}]


def test_the_headline_has_the_worst_layer_and_the_dead_expert(campaign: Store) -> None:
    drawing = find(10).draw(rows_of(campaign))
    balance, deaths = drawing.verdict
    assert balance.startswith("`+GQA+MoE` ends with a MaxVio of 0.3")
    assert "in layer 1" in balance
    assert deaths.startswith(
        "3 of the 180 experts of 3 trials died, ending below 0.1 of an even load: layer 1, expert 7"
        " (seed 0);"
    )
    assert [warned.code for warned in drawing.warnings] == ["dead_experts"]
    assert [(dead["layer"], dead["expert"]) for dead in drawing.data["experts"][0]["dead"]] == [
        (1, 7)
    ] * 3


def test_one_expert_has_no_choice_and_no_share_of_its_entropy(fill: Fill, tmp_path: Path) -> None:
    with open_store(tmp_path / "one.db", mode="write") as store:
        fill(store, ["+GQA+MoE"], seeds=1, layers=2, experts=1)
        rows = rows_of(store)
    curves = rows.curves.with_columns(  # as a router of one expert tells it
        value=pl.when(pl.col("name").str.starts_with("router_entropy")).then(0.0).otherwise("value")
    )
    drawing = find(10).draw(replace(rows, curves=curves))
    assert [panel.name for panel in drawing.panels] == ["load"]
    assert len(drawing.verdict) == 1
    table = drawing.panels[0].table
    assert table is not None
    assert [(row[1], row[3], row[4], row[6]) for row in table.rows] == [("0", "0", NONE, "1")] * 2
    assert ">layer 1<" in to_svg(drawing.panels[0].chart)


def test_where_none_died_the_least_used_is_told(campaign: Store) -> None:
    rows = rows_of(campaign)
    alive = rows.curves.filter(~pl.col("name").str.starts_with("load_1_"))
    drawing = find(10).draw(replace(rows, curves=alive))
    assert drawing.verdict[1].startswith(
        "No expert died: of the 135 experts of 3 trials the least used ends at 0."
    )
    assert drawing.warnings == []


def test_dropped_tokens_have_a_chart_where_there_are_any(campaign: Store) -> None:
    rows = rows_of(campaign)
    value = pl.when(pl.col("name") == "dropped_2").then(0.05).otherwise("value")
    drawing = find(10).draw(replace(rows, curves=rows.curves.with_columns(value=value)))
    assert [panel.name for panel in drawing.panels][-1] == "dropped"
    table = drawing.panels[0].table
    assert table is not None
    assert [row[5] for row in table.rows] == ["0", "0", "0.05", "0"]


def test_every_arm_with_experts_has_its_panels(campaign: Store) -> None:
    rows = rows_of(campaign)
    renamed = (
        pl.when(pl.col("arm") == "+GQA+MoE", pl.col("seed") == 2)
        .then(pl.lit("other"))
        .otherwise("arm")
    )
    names = [
        panel.name
        for panel in (
            find(10).draw(replace(rows, trials=rows.trials.with_columns(arm=renamed))).panels
        )
    ]
    assert names[0] == "load-GQA-MoE"
    assert names[3] == "load-other"
    assert len(names) == len(set(names)) == 6


def test_a_trial_that_runs_still_is_drawn_as_far_as_it_is(campaign: Store) -> None:
    rows = rows_of(campaign)
    running = pl.when(pl.col("arm") == "+GQA+MoE").then(pl.lit("running")).otherwise("state")
    assert find(10).has_data(replace(rows, trials=rows.trials.with_columns(state=running)))


def test_dense_arms_are_no_data(campaign: Store, fill: Fill, tmp_path: Path) -> None:
    assert find(10).has_data(rows_of(campaign))
    with open_store(tmp_path / "dense.db", mode="write") as store:
        fill(store, ["base", "+MQA"])
        assert not find(10).has_data(rows_of(store))
        assert "expert_load" not in report.with_data(store)


def test_what_a_page_cannot_hold_is_thinned_and_said(fill: Fill, tmp_path: Path) -> None:
    with open_store(tmp_path / "large.db", mode="write") as store:
        fill(store, ["+GQA+MoE"], seeds=1, layers=24, experts=48, steps=tuple(range(50, 1050, 50)))
        rows = rows_of(store)
    (found,) = experts_of(rows)
    chart, is_thinned = load_chart(found)
    cells = chart["datasets"]["loads"]
    assert is_thinned
    assert CELLS / 2 < len(cells) <= CELLS
    assert {0, 23} <= {row["layer"] for row in cells}
    assert {50, 1000} <= {row["step"] for row in cells}
    assert "left out of the picture" in find(10).draw(rows).panels[0].caption


def test_a_page_is_kept_true_by_check(campaign: Store, tmp_path: Path) -> None:
    path = report.draw(campaign, "expert_load", out=tmp_path)
    data = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    values = data["experts"][0]["load"]["values"]
    assert (len(values), len(values[0]), len(values[0][0])) == (4, 8, 15)
    assert sum(values[0][0]) == pytest.approx(15, rel=1e-4)
    assert report.check(campaign, tmp_path) == []
    digest = data["experts"][0]["digests"][0]
    attempt = campaign.begin(digest, Started({}, 488), {"commit": "abc"}, "me")
    campaign.measure(digest, attempt, Measured(600, {"load_0_0": 0.5}))
    campaign.flush()
    assert report.check(campaign, tmp_path) == ["fig-10"]


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 420)])
def test_the_browser_draws_it_and_a_cell_names_its_trial(
    campaign: Store, tmp_path: Path, browse: Callable[..., tuple[str, str]], dark: bool, width: int
) -> None:
    path = report.draw(campaign, 10, out=tmp_path)
    script = """
        const cell = document.querySelector("#load .live g.mark-rect.role-mark path");
        cell.dispatchEvent(new MouseEvent("click", {bubbles: true}));
        document.title = document.querySelectorAll("#picked code").length + " named";
    """
    drawn = "document.documentElement.dataset.drawn"
    wait = f"const wait=setInterval(()=>{{if({drawn}){{clearInterval(wait);{script}}}}},50);"
    before, _, after = path.read_text(encoding="utf-8").rpartition("</body>")
    path.write_text(f"{before}<script>{wait}</script></body>{after}", encoding="utf-8")
    document, console = browse(path, dark=dark, width=width)
    assert console == ""
    assert "<title>1 named</title>" in document
    for text in ("layer 0", "MaxVio", "even: ln 15", "2 or more"):
        assert f">{text}</text>" in document
