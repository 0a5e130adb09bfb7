"""How the numbers of fig. 1 came about, and what to beware of."""

from scalelab.fit.cost import PUBLISHED, UNDECIDED, Cost
from scalelab.fit.cost_laws import DRAWS
from scalelab.fit.frontier import ATTRIBUTES
from scalelab.report.figure import Rows
from scalelab.report.figures.facts_vs_params.text import Curves
from scalelab.report.numbers import line
from scalelab.report.recall import SERIES
from scalelab.report.runs import free, state_counts

_CENSORED = (
    "A replicate that passes at no size tried is censored, and never dropped: into every fit but"
    " the published recipe it goes with the probability of an answer above the largest size tried"
    " (a Tobit likelihood)."
)
_LINE = (
    "The line is fitted to the replicates' answers by maximum likelihood with normal noise of one"
    " size, every number of facts with the same weight; without censoring that is least squares."
    " With the origin a point, (0, 0) has the weight of one number of facts. The published recipe"
    " is least squares over the means of the replicates that pass, and the origin; it drops the"
    " others."
)
_INTERVALS = (
    f"Intervals: {DRAWS:,} bootstrap draws of n-1 of the n replicates at each number of facts; the"
    " estimate plus and minus Student's t times the standard deviation of the draws. They say how"
    " far the spread of the replicates moves a law, not whether it is the right law. Where the"
    " replicates agree, as they often do on a grid of sizes, the interval is Student's t over the"
    " scatter of the means about the law."
)
_TOOL = (
    "In-tool, a plateau (one size from a knee on; up to it, if there is a way up, the size rises"
    " with the logarithm of the facts) is compared with a logarithm by AICc over the replicates'"
    f" answers. A difference below {UNDECIDED:g} does not tell them apart."
)
_PUBLISHED = (
    f"Published: {line(PUBLISHED['slope'], PUBLISHED['intercept'])}, from Houliston et al. 2025"
    " (arXiv 2508.20755), refitted to their runs at 95 % recall with the origin a point."
)


def methods(rows: Rows, metric: str, at_least: float, curves: Curves, cost: Cost) -> list[str]:
    """Which trials count, when one passes, how laws are fitted; then cautions, where
    there are any.
    """
    states = ", ".join(f"{count:,} {state}" for state, count in state_counts(rows.trials).items())
    asked = [
        f"{name}: {spec['about']}" for name, spec in sorted(rows.specs.items()) if spec.get("about")
    ]
    counted = (
        f"Trials by state: {states}. Done and stopped trials count with their last {metric}; a"
        " diverged one does not pass; one without a result (missing, queued, running, failed) says"
        " nothing about its size; a frontier search asks only for what it needs."
    )
    passing = (
        f"A trial passes where {metric} is at least {at_least:.4g}. A replicate (one seed) answers"
        " with the smallest passing size of those that were run. Sizes are total parameters,"
        f" embedding and head included; a person has {ATTRIBUTES} facts; standard deviations divide"
        " by n-1."
    )
    return [
        *asked,
        counted,
        passing,
        _CENSORED,
        _LINE,
        _INTERVALS,
        _TOOL,
        _PUBLISHED,
        *_cautions(rows, curves, cost),
    ]


def _cautions(rows: Rows, curves: Curves, cost: Cost) -> list[str]:
    answers = [answer for curve in curves.values() for cell in curve for answer in cell.answers]
    lowest = sum(answer.passed and answer.below is None for answer in answers)
    others = ", ".join(free(rows.trials, ["task.people", "task.recall", "params.total"]))
    said = [
        f"No law for {SERIES[recall]}: {why}."
        for recall, why in sorted(cost.why.items())
        if recall in curves
    ]
    if lowest:
        said.append(
            f"In {lowest} of {len(answers)} replicates the smallest size that was run passes: the"
            " true answer may be smaller."
        )
    if others:
        said.append(
            f"Among these trials {others} varies too. A size passes where one of its trials does;"
            " draw one value with --filter."
        )
    return said
