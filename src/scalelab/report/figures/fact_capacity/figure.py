"""Fig. 3: how many bits a model learns by heart, against its parameters and against what its data
hold.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean
from typing import Any

from scalelab.core.errors import UserError
from scalelab.fit.knowledge import DRAWS, Capacity, Point, above_limit, capacity, points
from scalelab.fit.warned import Warned
from scalelab.report.charts.colours import Palette
from scalelab.report.figure import Drawing, Figure, Panel, Rows, Table
from scalelab.report.figures.fact_capacity.charts import (
    capacity_chart,
    capacity_data,
    demand_chart,
    demand_data,
    series_name,
)
from scalelab.report.numbers import NONE, rounded, short, span, whole
from scalelab.report.runs import absent, free, state_counts

SIZE = "params.used"
NEEDED = ("digest", "state", "task.people", "exposures", "metrics.bits", "metrics.bits_max", SIZE)


@dataclass(frozen=True)
class FactCapacity(Figure):
    """Bits against parameters with the line of what they could hold, and learned against demanded
    bits per parameter.
    """

    recipe: int = 2

    def lacks(self, rows: Rows) -> str:
        """Nothing, where a trial has finished with learned bits and their bound."""
        if missing := absent(rows.trials, NEEDED):
            return missing
        if not any(point.mean > 0 for point in points(rows.trials, SIZE)):
            return "no finished trial has learned any bits (`metrics.bits` above 0)"
        return ""

    def draw(self, rows: Rows) -> Drawing:
        """The drawing."""
        found = points(rows.trials, SIZE)
        by_exposures = {
            exposures: list(group)
            for exposures, group in groupby(found, key=lambda point: point.exposures)
        }
        laws, without = _fitted(by_exposures)
        shown = [
            series_name(exposures)
            for exposures in by_exposures
            if any(point.mean > 0 for point in by_exposures[exposures])
        ]
        every = rows.unfiltered.trials["exposures"].drop_nulls().round_sig_figs(3).unique().sort()
        series = Palette.of(shown, [series_name(exposures) for exposures in every.to_list()])
        bits = capacity_chart(capacity_data(found, laws), series)
        demand = demand_chart(demand_data(found, laws), series)
        return Drawing(
            title=self.title,
            verdict=_verdict(by_exposures, laws, found),
            panels=[
                Panel("bits", "", bits, _BITS, _points_table(found)),
                Panel("demand", "Learned and demanded", demand, _DEMAND, None),
            ],
            metric="metrics.bits_per_param",
            tables=[_laws_table(laws)],
            reading=_READING,
            methods=_methods(rows, without),
            data={
                "points": [_point_json(point) for point in found],
                "fits": rounded(
                    {f"{exposures:g}": law.to_json() for exposures, law in laws.items()}
                ),
            },
            warnings=_warnings(rows, found),
        )


_BITS = (
    "Bits learned against parameters, with guides at 1 and 2 bits a parameter, what the data of"
    " each number of people hold, and the fit with its 95 % band."
)
_DEMAND = (
    "Bits learned per parameter against bits in the data per parameter; a ring stands at the knee"
    " of a large model."
)
_READING = [
    (
        "Both axes are logarithmic. A mark is the mean over the replicates of one size, with a bar"
        " of one standard deviation; lines join sizes on the same people and exposures. On a dotted"
        " line all that the data hold is learned; no point can lie beyond it."
    ),
    (
        "A dashed line is the fit: in the first chart, of what a model could hold; in the second,"
        " of what it learns. There a model left of the knee has more parameters than the data need,"
        " and learns nearly all; right of it, the model is full."
    ),
    (
        "Point at a mark to see its trials; click it to find them among the runs below; `scalelab"
        " show DIGEST` tells all of one."
    ),
]


def _fitted(
    found: Mapping[float, Sequence[Point]],
) -> tuple[dict[float, Capacity], dict[float, str]]:
    """Laws by exposures, and why some have none."""
    laws: dict[float, Capacity] = {}
    without: dict[float, str] = {}
    for exposures, group in found.items():
        try:
            laws[exposures] = capacity(group)
        except UserError as error:
            without[exposures] = error.what
    return laws, without


def _verdict(
    found: Mapping[float, Sequence[Point]], laws: Mapping[float, Capacity], every: Sequence[Point]
) -> list[str]:
    said = [
        _series_verdict(exposures, group, laws.get(exposures)) for exposures, group in found.items()
    ]
    above = above_limit(every)
    if above:
        return [
            *said,
            (
                f"{len(above)} of {len(every)} points lie above what their data hold: something is"
                " counted wrongly."
            ),
        ]
    most = max(point.mean / point.bits_max for point in every)
    return [
        *said,
        (
            f"No point lies above what its data hold; the closest has learned {100 * most:.1f} %"
            " of it."
        ),
    ]


def _series_verdict(exposures: float, group: Sequence[Point], law: Capacity | None) -> str:
    best = max(group, key=lambda point: point.per_param)
    said = (
        f"After {series_name(exposures)}, models hold up to {best.per_param:.2f} bits a parameter"
    )
    if law is None:
        return said + "."
    about = (
        f" (95 % interval {span(law.per_param_interval, '.2f')})" if law.per_param_interval else ""
    )
    fixed = f"past the first {short(law.overhead)}, " if law.overhead > 0 else ""
    return f"{said}; {fixed}one parameter more holds {law.per_param:.2f} bits{about}."


def _points_table(found: Sequence[Point]) -> Table:
    columns = (
        "exposures",
        "people",
        "parameters",
        "bits learned",
        "std",
        "bits in the data",
        "share",
        "bits per parameter",
        "demanded",
        "recall",
        "replicates",
    )
    rows = []
    for point in found:
        recall = fmean(point.recall)
        rows.append(
            [
                f"{point.exposures:g}",
                f"{point.people:,}",
                whole(point.params),
                whole(point.mean),
                whole(point.std) or NONE,
                whole(point.bits_max),
                f"{point.mean / point.bits_max:.3f}",
                f"{point.per_param:.3f}",
                f"{point.demanded:.3f}",
                f"{recall:.3f}" if recall == recall else NONE,
                str(len(point.bits)),
            ]
        )
    return Table("The numbers", columns, rows, frozenset(range(len(columns))))


def _laws_table(laws: Mapping[float, Capacity]) -> Table:
    rows = [
        [
            f"{exposures:g}",
            f"{law.per_param:.3f}",
            span(law.per_param_interval, ".3f"),
            whole(law.overhead),
            f"{law.sharpness:.2g}",
        ]
        for exposures, law in laws.items()
    ]
    columns = (
        "exposures",
        "bits per parameter",
        "95 %",
        "parameters that hold nothing",
        "sharpness",
    )
    return Table("The fits", columns, rows, frozenset({0, 1, 3, 4}))


def _methods(rows: Rows, without: Mapping[float, str]) -> list[str]:
    states = ", ".join(f"{count:,} {state}" for state, count in state_counts(rows.trials).items())
    asked = [
        f"{name}: {spec['about']}" for name, spec in sorted(rows.specs.items()) if spec.get("about")
    ]
    return [
        *asked,
        f"Trials by state: {states}. Done and stopped trials count with their last metrics.",
        (
            "Bits are as defined in arXiv 2404.05405: the bits in the people's names and values"
            " less the summed cross-entropy of the tokens that tell them. For N people of bioS the"
            " data hold N times 47.59 bits in values, and N log2(1.6e8 / N) in names."
        ),
        "Parameters are those used: without embedding rows of tokens that never occur.",
        (
            "The fit, for each number of exposures: bits = d / (1 + (d / l)^m)^(1/m), d the bits in"
            " the data and l = a (parameters - b) those that a model could hold: it bends from what"
            " there is to know to what can be known. Least squares of the logarithm of the bits, by"
            " Levenberg and Marquardt's method from 12 starts. The dashed line of the first chart"
            " is l, the ring of the second is the knee of a large model, at a bits a parameter."
        ),
        (
            f"Intervals: {DRAWS:,} bootstrap draws of n-1 of the n replicates of each point, the"
            " estimate plus and minus Student's t times the standard deviation of the draws, on a"
            " log scale; without replicates, Student's t over the scatter of the points about the"
            " law."
        ),
        *(f"No fit for {series_name(exposures)}: {why}." for exposures, why in without.items()),
    ]


def _warnings(rows: Rows, found: Sequence[Point]) -> list[Warned]:
    said = []
    above = above_limit(found)
    if above:
        digests = ", ".join(point.digests[0][:10] for point in above[:5])
        said.append(
            Warned(
                "above_bound",
                f"{len(above)} points have learned more bits than their data hold ({digests}): the"
                " count is wrong.",
            )
        )
    diverged = state_counts(rows.trials).get("diverged", 0)
    if diverged:
        said.append(Warned("diverged_dropped", f"{diverged} diverged trials are left out."))
    known = rows.trials.filter(rows.trials["metrics.bits"].is_not_null())
    others = ", ".join(
        path
        for path in free(known, ["task.people", "exposures", SIZE])
        if not path.startswith("budget.")
    )
    if others:
        text = (
            f"Among these trials {others} varies too, and a point is the mean over all of them;"
            " draw one value with --filter."
        )
        said.append(Warned("others_vary", text))
    return said


def _point_json(point: Point) -> dict[str, Any]:
    told = {
        "people": point.people,
        "exposures": point.exposures,
        "params": point.params,
        "bits": list(point.bits),
    }
    derived = {
        "bits_mean": point.mean,
        "bits_max": point.bits_max,
        "bits_per_param": point.per_param,
        "demanded": point.demanded,
    }
    return {
        **rounded({**told, **derived, "recall": list(point.recall)}),
        "digests": list(point.digests),
    }
