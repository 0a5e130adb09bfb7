"""Fig. 8: the heat map, the best shapes, and what a reader is warned of."""

import json
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab.report.charts.themes import to_svg
from scalelab.report.figure import Rows
from scalelab.report.figures.allocation.figure import Allocation

FIGURE = Allocation(
    8, "allocation", "Which shape learns most facts?", "allocation", "specs/allocation.yaml"
)
SPECS = {
    "allocation": {
        "about": "Which?",
        "axes": {"model.layers": [1, 2], "model.width": [16, 32, 48], "model.heads": [1, 2]},
    }
}


def table(*, replicates: int = 3, noise: float = 0.01, best: int = 32) -> pl.DataFrame:
    rng, rows = np.random.default_rng(0), []
    for layers, width, heads, seed in product((1, 2), (16, 32, 48), (1, 2), range(replicates)):
        recall = (
            0.5 + 0.3 * (width == best) + 0.1 * (heads == 2) - 0.05 * layers + noise * rng.normal()
        )
        rows.append(_row(layers, width, heads, seed, recall))
    return pl.DataFrame(rows)


def _row(layers: int, width: int, heads: int, seed: int, recall: float) -> dict[str, Any]:
    return {
        "digest": f"{layers}/{width}/{heads}/{seed}".ljust(40, "0"),
        "experiment": "allocation",
        "state": "done",
        "seed": seed,
        "task.people": 160,
        "model.layers": layers,
        "model.width": width,
        "model.heads": heads,
        "model.kv_heads": heads,
        "model.head_width": width // heads,
        "model.ffn.width": 960 // (layers * width),
        "params.total": 33_000 + width,
        "metrics.recall": recall,
    }


def test_every_cell_has_its_mean_its_solved_size_and_its_trials() -> None:
    drawing = FIGURE.draw(Rows(table(), SPECS))
    cells = drawing.panels[0].chart["datasets"]["shapes"]
    assert len(cells) == 12
    best = cells[0]
    assert (best["down"], best["along"], best["part"], best["below"]) == (
        "1",
        "32",
        "2 heads",
        "FFN 30",
    )
    assert best["text"] == f"{best['mean']:.2f}"
    assert all(len(row["digests"]) == 3 for row in cells)
    assert json.loads(json.dumps(drawing.data, allow_nan=False)) == drawing.data
    assert drawing.data["allocation"]["shapes"][0]["model.width"] == 32


def test_the_verdict_names_the_best_and_the_least_shape() -> None:
    said = FIGURE.draw(Rows(table(), SPECS)).verdict
    assert "1 layer, width 32, 2 heads, FFN width 30 recalls most: 0.8" in said[0]
    assert "every other shape is told from it" in said[1]
    assert said[2].startswith("Of all variance, width ")


def test_the_charts_become_pictures() -> None:
    for panel in FIGURE.draw(Rows(table(), SPECS)).panels:
        assert "2 heads" in to_svg(panel.chart)


def test_a_best_shape_at_the_end_of_an_axis_is_a_warning() -> None:
    inside, outside = FIGURE.draw(Rows(table(), SPECS)), FIGURE.draw(Rows(table(best=48), SPECS))
    assert [warned.text for warned in inside.warnings] == [
        "The best shape has the largest heads of those tried: a better one may lie beyond."
    ]
    assert "the largest width and the largest heads" in outside.warnings[0].text


def test_one_replicate_has_means_and_no_intervals() -> None:
    drawing = FIGURE.draw(Rows(table(replicates=1), SPECS))
    assert "few_replicates" in [warned.code for warned in drawing.warnings]
    assert all(
        row["low"] == row["high"] and not row["chance"]
        for row in drawing.panels[1].chart["datasets"]["best"]
    )
    assert len(drawing.verdict) == 1


def test_noise_alone_is_not_told_apart() -> None:
    rng = np.random.default_rng(5)
    noise = table().with_columns(pl.Series("metrics.recall", 0.5 + 0.1 * rng.normal(size=36)))
    assert "not_told_apart" in [warned.code for warned in FIGURE.draw(Rows(noise, SPECS)).warnings]


def test_several_sizes_or_one_shape_are_no_data() -> None:
    assert FIGURE.has_data(Rows(table(), SPECS))
    assert not FIGURE.has_data(
        Rows(table().with_columns(pl.col("params.total") * pl.col("model.width")), SPECS)
    )
    assert not FIGURE.has_data(
        Rows(table().filter(pl.col("digest").str.starts_with("1/16/1/")), SPECS)
    )
    assert not FIGURE.has_data(Rows(table().with_columns(pl.lit("queued").alias("state")), SPECS))
    assert not FIGURE.has_data(Rows(pl.DataFrame({"digest": []}), {}))


def test_what_else_varies_is_a_warning() -> None:
    both = pl.concat(
        [
            table(),
            table().with_columns(
                pl.lit(80).cast(pl.Int64).alias("task.people"), digest="x" + pl.col("digest")
            ),
        ]
    )
    codes = [warned.code for warned in FIGURE.draw(Rows(both, SPECS)).warnings]
    assert "others_vary" in codes


def test_the_same_rows_in_any_order_give_the_same_drawing() -> None:
    assert FIGURE.draw(Rows(table().reverse(), SPECS)) == FIGURE.draw(Rows(table(), SPECS))


def test_shapes_of_a_language_model_are_ranked_by_the_least_test_loss() -> None:
    losses = (
        table()
        .rename({"metrics.recall": "metrics.test_loss"})
        .with_columns(pl.col("metrics.test_loss") + 1)
    )
    drawing = FIGURE.draw(Rows(losses, SPECS))
    least = (
        losses.group_by("model.layers", "model.width", "model.heads")
        .agg(pl.col("metrics.test_loss").mean())
        .sort("metrics.test_loss")
    )
    best = drawing.panels[0].chart["datasets"]["shapes"][0]
    assert best["mean"] == pytest.approx(least["metrics.test_loss"][0], rel=1e-5)
    assert " has the lowest test_loss: 1.395" in drawing.verdict[0]
    assert drawing.metric == "metrics.test_loss"
    assert "metrics.recall" not in str(drawing.tables)


def test_named_arms_are_not_shapes() -> None:
    named = table().with_columns(arm=pl.col("model.width").cast(pl.String))
    assert not FIGURE.has_data(Rows(named, SPECS))
