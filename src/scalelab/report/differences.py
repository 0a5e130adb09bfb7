"""How far arms are from another one, seed by seed: the rows of a chart of differences."""

from math import isfinite
from typing import Any

from scalelab.fit.estimate import Estimate
from scalelab.report.arms import Arm
from scalelab.report.charts import behind
from scalelab.report.numbers import with_error


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
