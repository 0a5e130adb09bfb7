"""Fig. 9: arms from a store with their intervals, differences paired by seed, and what a reader is
warned of.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from scalelab import report
from scalelab.core.errors import UserError
from scalelab.fit.multiple import holm
from scalelab.report.charts.themes import to_svg
from scalelab.report.figure import Drawing, Rows
from scalelab.report.reading import Reading
from scalelab.report.registry import find
from scalelab.store.store import Store


def rows_of(store: Store) -> Rows:
    return Reading(store).rows(find(9), ["gqa_moe"])


def codes(rows: Rows) -> list[str]:
    return [warned.code for warned in find(9).draw(rows).warnings]


@pytest.fixture
def rows(campaign: Store) -> Rows:
    return rows_of(campaign)


@pytest.fixture
def drawing(rows: Rows) -> Drawing:
    return find(9).draw(rows)


def moved(rows: Rows, column: str, by: float, arm: str) -> Rows:
    changed = pl.when(pl.col("arm") == arm).then(pl.col(column) + by).otherwise(pl.col(column))
    return replace(rows, trials=rows.trials.with_columns(changed.alias(column)))


def test_every_arm_is_a_mark_with_intervals_both_ways_and_its_trials(
    rows: Rows, drawing: Drawing
) -> None:
    assert [panel.name for panel in drawing.panels] == ["speed", "cache", "difference"]
    arms = drawing.panels[0].chart["datasets"]["arms"]
    assert [row["series"] for row in arms] == [
        "base",
        "+MQA",
        "+GQA, wider FFN",
        "+GQA, more heads",
        "+GQA+MoE",
    ]
    for row in arms:
        mine = rows.trials.filter(pl.col("arm") == row["series"])
        assert row["y"] == pytest.approx(mine["metrics.test_loss"].mean(), rel=1e-5)
        assert row["x"] == pytest.approx(
            mine["metrics.decode_tokens_per_second_b1_t128"].mean(), rel=1e-5
        )
        assert row["low"] < row["x"] < row["high"]
        assert row["bottom"] < row["y"] < row["top"]
        assert set(row["digests"]) == set(mine["digest"])
    assert len(drawing.panels[0].chart["datasets"]["values"]) == 15


def test_arms_of_one_cache_stand_side_by_side_and_say_what_they_have(drawing: Drawing) -> None:
    cache = {row["series"]: row for row in drawing.panels[1].chart["datasets"]["arms"]}
    shared = [cache[name] for name in ("+GQA, wider FFN", "+GQA, more heads", "+GQA+MoE")]
    assert len({row["x"] for row in shared}) == 3
    assert {row["cost"] for row in shared} == {"1,024"}
    assert cache["base"]["x"] == 4096


def test_the_headline_says_which_arm_is_better_and_which_are_not_told_apart(
    drawing: Drawing,
) -> None:
    best, others, fastest, cached = drawing.verdict
    assert best.startswith("`+GQA+MoE` has the lowest test_loss: 1.537")
    assert " below `base` (95 %: 0.0" in best
    assert others.startswith("Against `base`, better: `+GQA, wider FFN`")
    assert others.endswith("not told from it (corrected for 4 arms): `+MQA`, `+GQA, more heads`.")
    assert fastest.startswith("`+MQA` is the fastest: 1,0")
    assert fastest.endswith("with 0.125 \N{MULTIPLICATION SIGN} its bytes of cache.")
    assert cached.startswith("With a cache, decoding is 6.9")


def test_an_arm_that_is_told_apart_alone_is_not_among_four(rows: Rows) -> None:
    """Pairs of -0.02, -0.03 and -0.03 have p = 0.015; four times that is above 0.05."""
    lucky = pl.when(pl.col("seed") == 0).then(-0.02).otherwise(-0.03)
    noise = pl.when(pl.col("arm") == "+MQA").then(lucky).otherwise(0.004 * (pl.col("seed") - 1))
    away = pl.when(pl.col("arm") == "base").then(0.0).otherwise(noise)
    made = rows.trials.with_columns((1.6 + away).alias("metrics.test_loss"))
    drawn = find(9).draw(replace(rows, trials=made))
    assert drawn.verdict[0].startswith("`+MQA` has the lowest test_loss")
    assert "but it is not told from `base`" in drawn.verdict[0]
    assert "p = 0.061 corrected for 4 arms" in drawn.verdict[0]
    assert "better: " not in drawn.verdict[1]
    quality, speeds = drawn.data["judged"].values()
    assert [one["p_holm"] for one in quality] == pytest.approx(
        holm([one["p"] for one in quality]), rel=1e-4
    )
    assert {one["judged_together"] for one in (*quality, *speeds)} == {4}
    alone = made.filter(pl.col("arm").is_in(["base", "+MQA"]))
    assert " below `base` (95 %: " in find(9).draw(replace(rows, trials=alone)).verdict[0]


def test_an_arm_whose_interval_contains_zero_is_no_winner(rows: Rows) -> None:
    # The same losses as the first arm's but for noise that has no sign.
    noisy = rows.trials.filter(pl.col("arm").is_in(["base", "+MQA"])).with_columns(
        pl.col("metrics.test_loss") * 0
        + 1.6
        + pl.when(pl.col("arm") == "+MQA").then(0.01 * (pl.col("seed") - 1.2)).otherwise(0.0)
    )
    said = find(9).draw(replace(rows, trials=noisy)).verdict[0]
    assert said.startswith("`+MQA` has the lowest test_loss")
    assert said.endswith("contains zero.")


def test_the_tables_hold_every_asked_for_number(drawing: Drawing) -> None:
    sizes, quality, speeds, ratios, contexts = drawing.tables
    assert sizes.rows[-1] == [
        "+GQA+MoE",
        "800,002",
        "2,406,000",
        "104",
        "3 of 15 + 1",
        "8",
        "2",
        "3",
    ]
    assert quality.columns[1:] == (
        "test loss",
        "\N{GREEK CAPITAL LETTER DELTA} test loss",
        *quality.columns[3:],
    )
    assert len(quality.columns) == 6
    assert (quality.rows[0][2], quality.rows[1][2][:5]) == ("\N{EN DASH}", "0.002")
    assert [row[-1] for row in speeds.rows] == ["4,096", "512", "1,024", "1,024", "1,024"]
    assert [row[-1] for row in ratios.rows] == ["0.125", "0.25", "0.25", "0.25"]
    assert len(contexts.rows) == 10
    assert all(len(row) == len(table.columns) for table in drawing.tables for row in table.rows)
    numbers = drawing.panels[0].table
    assert numbers is not None
    assert len(numbers.rows) == 15


def test_the_numbers_beside_the_page_are_traceable(campaign: Store, tmp_path: Path) -> None:
    path = report.draw(campaign, 9, out=tmp_path)
    data = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    assert data["options"] == {"metric": "test_loss", "x": "decode"}
    moe = data["arms"][-1]
    assert (moe["arm"], len(moe["digests"]), moe["params.active"]) == ("+GQA+MoE", 3, 800_002)
    assert moe["differences"]["test_loss"]["ci95"][1] < 0
    assert report.check(campaign, tmp_path) == []


@pytest.mark.parametrize(
    ("options", "metric", "title"),
    [
        ({"metric": "bits_per_byte"}, "bits_per_byte", "tokens/s, decoding (1 lane, context 128)"),
        ({"x": "prefill"}, "test_loss", "tokens/s, prefill (1 lane, context 128)"),
        ({"x": "training"}, "test_loss", "tokens/s, training"),
        (
            {"x": "decode_tokens_per_second_b8_t128"},
            "test_loss",
            "tokens/s, decoding (8 lanes, context 128)",
        ),
    ],
)
def test_metric_and_speed_are_chosen(
    rows: Rows, options: dict[str, str], metric: str, title: str
) -> None:
    drawing = find(9).chosen(options).draw(rows)
    assert drawing.metric == f"metrics.{metric}"
    assert f">{title}<" in to_svg(drawing.panels[0].chart)


def test_what_no_trial_has_is_refused_with_the_nearest(campaign: Store, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match="no trial has a metric `test_los`; did you mean `test_loss`"
    ):
        report.draw(campaign, 9, options={"metric": "test_los"}, out=tmp_path)
    with pytest.raises(UserError, match="no trial has a speed `prefil`; did you mean `prefill`"):
        report.draw(campaign, 9, options={"x": "prefil"}, out=tmp_path)


def test_trials_of_other_text_or_length_stand_apart_and_are_warned_of(rows: Rows) -> None:
    assert codes(rows) == []
    other = rows.trials.with_columns(
        pl.lit("cd34").alias("task.shards"), digest="x" + pl.col("digest")
    )
    both = replace(rows, trials=pl.concat([rows.trials, other]))
    assert codes(both) == ["several_settings"]
    drawn = find(9).draw(both)
    assert len(drawn.panels[0].chart["datasets"]["arms"]) == 10
    assert drawn.verdict[0].startswith("shards ab12: ")
    longer = rows.trials.with_columns(
        pl.when(pl.col("arm") == "+MQA")
        .then(2 * pl.col("tokens"))
        .otherwise("tokens")
        .alias("tokens")
    )
    (warned,) = find(9).draw(replace(rows, trials=longer)).warnings
    assert (warned.code, "`tokens`" in warned.text) == ("unlike_arms", True)


def test_unequal_sizes_few_replicates_lost_trials_and_several_machines_are_warned_of(
    rows: Rows,
) -> None:
    def changed(**columns: Any) -> Rows:
        return replace(rows, trials=rows.trials.with_columns(**columns))

    grown = pl.when(pl.col("arm") == "+MQA").then(900_000).otherwise("params.active")
    assert codes(changed(**{"params.active": grown})) == ["unequal_sizes"]
    assert codes(replace(rows, trials=rows.trials.filter(pl.col("seed") < 2))) == ["few_replicates"]
    lost = (
        pl.when((pl.col("arm") == "base") & (pl.col("seed") == 2))
        .then(pl.lit("diverged"))
        .otherwise("state")
    )
    assert codes(changed(state=lost)) == ["few_replicates", "left_out"]
    where = pl.when(pl.col("seed") == 0).then(pl.lit("a")).otherwise(pl.lit("b"))
    machines = {"a": {"hostname": "one"}, "b": {"hostname": "two"}}
    assert codes(replace(changed(environment=where), environments=machines)) == ["several_machines"]
    assert codes(changed(configuration=pl.col("digest"))) == ["mixed_arm"]


def test_without_arms_what_varies_tells_the_points_apart(rows: Rows) -> None:
    plain = rows.trials.drop("arm").filter(
        pl.col("model.ffn.kind") == "swiglu", pl.col("model.heads") == 8
    )
    specs = {"gqa_moe": {"axes": {"model.kv_heads": [1, 2, 8]}}}
    arms = find(9).draw(replace(rows, trials=plain, specs=specs)).data["arms"]
    assert [arm["arm"] for arm in arms] == ["kv_heads 1", "kv_heads 2", "kv_heads 8"]


def test_one_arm_or_no_speed_is_no_data(rows: Rows) -> None:
    assert find(9).has_data(rows)
    assert not find(9).has_data(replace(rows, trials=rows.trials.filter(pl.col("arm") == "base")))
    slow = [
        column
        for column in rows.trials.columns
        if "tokens_per_second_b" in column or "cache_bytes" in column
    ]
    assert not find(9).has_data(replace(rows, trials=rows.trials.drop(slow)))
    assert not find(9).has_data(Rows(pl.DataFrame({"digest": []}), {}))


def test_the_same_rows_in_any_order_give_the_same_drawing(rows: Rows, drawing: Drawing) -> None:
    assert find(9).draw(replace(rows, trials=rows.trials.reverse())) == drawing


@pytest.mark.parametrize(("dark", "width"), [(False, 1200), (True, 420)])
def test_the_browser_draws_it(
    campaign: Store, tmp_path: Path, browse: Callable[..., tuple[str, str]], dark: bool, width: int
) -> None:
    document, console = browse(report.draw(campaign, 9, out=tmp_path), dark=dark, width=width)
    assert console == ""
    assert f'data-drawn="{"dark" if dark else "light"}"' in document
    for text in ("+GQA, more heads", "bytes of cache for a token", "test_loss minus that of base"):
        assert f">{text}</text>" in document


def test_a_mean_over_lengths_is_called_so_everywhere(rows: Rows) -> None:
    sums = rows.trials.with_columns(
        pl.lit("arithmetic").alias("task.kind"),
        (1 / pl.col("metrics.test_loss")).alias("metrics.accuracy"),
    )
    drawn = find(9).chosen({"metric": "accuracy"}).draw(replace(rows, trials=sums))
    label = "accuracy (mean over lengths)"
    for panel in drawn.panels:
        assert label in json.dumps(panel.chart)
        assert label in panel.caption
    quality = next(table for table in drawn.tables if table.title == "Quality")
    assert [title for title in quality.columns if "accuracy" in title] == [label, f"Δ {label}"]
    replicates = drawn.panels[0].table
    assert replicates is not None
    assert label in replicates.columns
    assert label in drawn.verdict[0]
