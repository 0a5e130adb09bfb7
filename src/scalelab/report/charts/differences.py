"""A chart of how far arms are from another one, seed by seed, and its rows."""

from collections.abc import Sequence
from math import isfinite
from typing import Any

import altair as alt

from scalelab.fit.estimate import Estimate
from scalelab.report.arms import Arm
from scalelab.report.charts.marks import HALF, Data, behind, finished, layer, told
from scalelab.report.numbers import with_error

_ROW, _LEAST = 34, 90
"""Height of a row, and of a chart at least."""


def difference_chart(data: Data, title: str, order: Sequence[str]) -> dict[str, Any]:
    """Differences to the first arm with their intervals, against a line at none; the paired seeds
    behind them.

    Data sets: `differences` (arm, value, low, high, and what the tooltip tells), `pairs` (arm,
    value, told).
    """
    found = [row[name] for row in data["differences"] for name in ("value", "low", "high")] + [
        row["value"] for row in data["pairs"]
    ]
    low, high = min(0.0, *found), max(0.0, *found)
    room = 0.06 * (high - low) or 1.0
    x = alt.X("value:Q", title=title, axis=alt.Axis(tickCount=5, grid=False, format="~r")).scale(
        domain=[low - room, high + room], nice=False
    )
    y = alt.Y(
        "arm:N",
        title=None,
        sort=list(order),
        axis=alt.Axis(labelLimit=190, domain=False, ticks=False),
    )
    tooltip = told(
        {"arm:N": "arm", "said:N": "difference", "replicates:N": "pairs", "trials:N": "trials"}
    )
    rows, pairs = layer("differences", x, y), layer("pairs", x, y)
    parts = [
        alt.Chart(alt.NamedData(name="none"))
        .mark_rule(style="reference", strokeWidth=1.2, strokeDash=[4, 3])
        .encode(alt.X("value:Q")),
        rows.mark_rule(strokeWidth=1.8, style="ink").encode(x=alt.X("low:Q"), x2="high:Q"),
        pairs.mark_point(
            style="reference", filled=True, opacity=0.5, size=30, cursor="pointer"
        ).encode(tooltip=tooltip),
        rows.mark_point(style="ink", filled=True, opacity=1, size=80, cursor="pointer").encode(
            tooltip=tooltip
        ),
    ]
    height = max(_LEAST, _ROW * len(order))
    return finished(
        alt.layer(*parts).properties(width=HALF - 130, height=height),
        {**data, "none": [{"value": 0.0}]},
    )


def difference_row(arm: Arm, base: Arm, away: Estimate, column: str, name: str) -> dict[str, Any]:
    """The mark of an arm, by this name: the mean difference with its interval and its trials."""
    low, high = away.ci95 or (away.value, away.value)
    count = len(arm.by_seed(column).keys() & base.by_seed(column).keys())
    place = {"arm": name, "value": away.value, "low": low, "high": high}
    return {
        **place,
        "said": with_error(away),
        "replicates": f"{count}",
        **behind([*arm.digests, *base.digests]),
    }


def pair_rows(arm: Arm, base: Arm, column: str, name: str) -> list[dict[str, Any]]:
    """A mark for each seed that both have."""
    one, other = arm.by_seed(column), base.by_seed(column)
    digests = {
        seed: _of_seed(arm, seed) + _of_seed(base, seed) for seed in one.keys() & other.keys()
    }
    return [
        {
            "arm": name,
            "value": away,
            "said": f"{away:.4g}",
            "replicates": f"seed {seed}",
            **behind(digests[seed]),
        }
        for seed in sorted(digests)
        if isfinite(away := one[seed] - other[seed])
    ]


def _of_seed(arm: Arm, seed: int) -> list[str]:
    return [
        digest for digest, other in arm.trials.select("digest", "seed").iter_rows() if other == seed
    ]
