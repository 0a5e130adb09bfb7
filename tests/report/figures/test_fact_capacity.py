"""Fig. 3: points, guides and caps, the law that it finds, and the check against what
the data hold.
"""

import json
import math
from typing import Any

import numpy as np
import polars as pl
import pytest

from scalelab.report.figure import Rows
from scalelab.report.figures.fact_capacity.figure import FactCapacity

FIGURE = FactCapacity(
    3,
    "fact_capacity",
    "How many bits does a parameter hold?",
    "fact_capacity",
    "specs/fact_capacity.yaml",
)
SPECS = {"fact_capacity": {"about": "How many bits?"}}


def table(*, people: tuple[int, ...] = (500, 1000, 2000), replicates: int = 2) -> pl.DataFrame:
    """Bits as the law makes them: 1 bit a parameter after 100 exposures, 2 after 1,000; 2,000
    parameters hold nothing.
    """
    rng, rows = np.random.default_rng(0), []
    for exposures, rate in ((100, 1.0), (1000, 2.0)):
        for count in people:
            data = count * (47.5916 + math.log2(1.6e8 / count))
            for size in (4000, 8000, 16_000, 32_000, 64_000):
                for seed in range(replicates):
                    limit = rate * (size - 2000) * math.exp(0.02 * rng.normal())
                    rows.append(
                        _row(
                            exposures,
                            count,
                            size,
                            seed,
                            data / (1 + (data / limit) ** 4) ** 0.25,
                            data,
                        )
                    )
    return pl.DataFrame(rows)


def _row(
    exposures: int, people: int, size: int, seed: int, bits: float, data: float
) -> dict[str, Any]:
    return {
        "digest": f"{exposures}/{people}/{size}/{seed}".ljust(40, "0"),
        "experiment": "fact_capacity",
        "state": "done",
        "seed": seed,
        "task.people": people,
        "exposures": float(exposures),
        "params.used": size,
        "params.total": size + 100,
        "metrics.bits": bits,
        "metrics.bits_max": data,
        "metrics.bits_per_param": bits / size,
        "metrics.recall": 0.5,
    }


def test_the_law_of_each_number_of_exposures_is_found_and_drawn() -> None:
    drawing = FIGURE.draw(Rows(table(), SPECS))
    for exposures, rate in (("100", 1.0), ("1000", 2.0)):
        fit = drawing.data["fits"][exposures]
        assert fit["per_param"] == pytest.approx(rate, rel=0.05)
        assert fit["per_param_interval"][0] < fit["per_param"] < fit["per_param_interval"][1]
        assert fit["overhead"] == pytest.approx(2000, rel=0.2)
    laws = drawing.panels[0].chart["datasets"]["laws"]
    assert {row["series"] for row in laws} == {"100 exposures", "1,000 exposures"}
    assert all(row["low"] <= row["learned"] <= row["high"] for row in laws)
    assert len(drawing.panels[1].chart["datasets"]["knees"]) == 2
    assert json.loads(json.dumps(drawing.data, allow_nan=False)) == drawing.data


def test_every_mark_leads_to_its_replicates_and_a_cap_stands_for_each_number_of_people() -> None:
    data = FIGURE.draw(Rows(table(), SPECS)).panels[0].chart["datasets"]
    assert len(data["points"]) == 30
    assert all(len(row["digests"]) == 2 for row in data["points"])
    assert [row["text"] for row in data["capwords"]] == [
        "500 people",
        "1,000 people",
        "2,000 people",
    ]
    assert data["capwords"][0]["learned"] == pytest.approx(
        500 * (47.5916 + math.log2(1.6e8 / 500)), rel=1e-5
    )
    assert {row["guide"] for row in data["guides"]} == {"1", "2"}
    assert all(
        row["learned"] == pytest.approx(float(row["guide"]) * row["params"], rel=1e-5)
        for row in data["guides"]
    )


def test_it_is_said_that_no_point_lies_above_its_bound() -> None:
    drawing = FIGURE.draw(Rows(table(), SPECS))
    assert "No point lies above what its data hold" in drawing.verdict[-1]
    assert drawing.warnings == []


def test_a_point_above_its_bound_is_a_warning_with_its_digest() -> None:
    wrong = table().with_columns(
        pl.when(pl.col("digest").str.starts_with("100/500/8000/0"))
        .then(1e6)
        .otherwise(pl.col("metrics.bits"))
        .alias("metrics.bits")
    )
    drawing = FIGURE.draw(Rows(wrong, SPECS))
    assert [warned.code for warned in drawing.warnings] == ["above_bound"]
    assert "100/500/80" in drawing.warnings[0].text
    assert "counted wrongly" in drawing.verdict[-1]


def test_few_sizes_are_drawn_without_a_law_and_the_reason_is_told() -> None:
    drawing = FIGURE.draw(Rows(table().filter(pl.col("params.used") > 20_000), SPECS))
    assert drawing.data["fits"] == {}
    assert drawing.panels[0].chart["datasets"]["laws"] == []
    assert sum("No fit for" in sentence for sentence in drawing.methods) == 2


def test_diverged_trials_are_dropped_and_counted() -> None:
    some = table().with_columns(
        pl.when(pl.col("digest").str.contains("64000/0"))
        .then(pl.lit("diverged"))
        .otherwise("state")
        .alias("state")
    )
    drawing = FIGURE.draw(Rows(some, SPECS))
    assert [warned.code for warned in drawing.warnings] == ["diverged_dropped"]
    assert "6 diverged trials" in drawing.warnings[0].text


def test_no_bits_are_no_data() -> None:
    assert FIGURE.has_data(Rows(table(), SPECS))
    assert not FIGURE.has_data(
        Rows(table().with_columns(pl.lit(None, pl.Float64).alias("metrics.bits")), SPECS)
    )
    assert not FIGURE.has_data(Rows(table().drop("metrics.bits_max"), SPECS))
    assert not FIGURE.has_data(Rows(table().with_columns(pl.lit("running").alias("state")), SPECS))


def test_a_model_below_zero_bits_has_no_place_on_a_log_axis() -> None:
    below = table().with_columns(
        pl.when(pl.col("params.used") == 4000)
        .then(-5.0)
        .otherwise(pl.col("metrics.bits"))
        .alias("metrics.bits")
    )
    drawing = FIGURE.draw(Rows(below, SPECS))
    assert len(drawing.panels[0].chart["datasets"]["points"]) == 24
    assert drawing.panels[0].table is not None
    assert len(drawing.panels[0].table.rows) == 30


def test_the_same_rows_in_any_order_give_the_same_drawing() -> None:
    assert FIGURE.draw(Rows(table().reverse(), SPECS)) == FIGURE.draw(Rows(table(), SPECS))
