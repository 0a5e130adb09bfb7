"""What fig. 7 says: its verdict, its tables, and how to read it."""

from collections.abc import Mapping, Sequence

from scalelab.core.metrics import is_lower_better
from scalelab.fit.warned import Warned
from scalelab.report.averages import averages, labelled
from scalelab.report.figure import Rows, Table
from scalelab.report.figures.learning_curves.data import X_AXES, Series, is_single
from scalelab.report.figures.learning_curves.ways import Way
from scalelab.report.numbers import short, value
from scalelab.report.runs import state_counts

_SAMPLED = ("recall_unseen", "recall_permuted")
"""Metrics of which an evaluation during training asks a sample alone."""


def verdict(drawn: Mapping[str, Sequence[Series]], x: str, rows: Rows) -> list[str]:
    """The best end of each metric, and how the trials ended."""
    states = state_counts(rows.trials)
    counts = ", ".join(f"{count:,} {state}" for state, count in states.items())
    series = max(map(len, drawn.values()))
    return [
        *(
            _best(metric, labelled(metric, rows.trials), lines, x)
            for metric, lines in drawn.items()
        ),
        f"{sum(states.values()):,} trials in {series:,} series: {counts}.",
    ]


def warnings(rows: Rows) -> list[Warned]:
    """Curves of one place."""
    if not is_single(rows.curves):
        return []
    text = (
        "Every trial was evaluated once, at its end: a mark is all there is of its curve. Lower"
        " `evaluation.first` for more."
    )
    return [Warned("one_evaluation", text)]


def _best(metric: str, label: str, lines: Sequence[Series], x: str) -> str:
    less = is_lower_better(metric)
    best = (min if less else max)(lines, key=lambda line: line.last()[1])
    at, reached = best.last()
    if len(lines) > 1 and len({line.last()[1] for line in lines}) == 1:
        return f"Every series ends with the same {label}: {value(reached)}."
    count = len(best.ends)
    of = f"mean of {count:,} trials, " if count > 1 else ""
    whose = f" in {best.label}" if len(lines) > 1 else ""
    # As on the axis: 1.98e10 FLOPs, 362K tokens.
    amount = f"{at:.2e}".replace("+", "") if x == "flops" else short(at)
    return (
        f"{'Lowest' if less else 'Highest'} {label} at the end: {value(reached)}{whose} ({of}after"
        f" {amount} {X_AXES[x]})."
    )


def ends_table(metric: str, label: str, lines: Sequence[Series], x: str) -> Table:
    """Where every series ends and how far its trials lie apart there."""
    columns = ("series", "trials", X_AXES[x], f"{label}, mean", "least", "most", "best mean", "at")
    rows = [_end(metric, line) for line in lines]
    note = (
        "Values at the last place of each series; every place is in the JSON file beside this page."
    )
    return Table("The numbers", columns, rows, frozenset(range(1, len(columns))), note)


def _end(metric: str, line: Series) -> list[str]:
    at, reached = line.last()
    index = int(line.mean_X.argmin() if is_lower_better(metric) else line.mean_X.argmax())
    spread = [value(float(line.low_X[-1])), value(float(line.high_X[-1]))]
    best = [value(float(line.mean_X[index])), f"{line.x_X[index]:,.6g}"]
    return [line.label, f"{len(line.ends):,}", f"{at:,.6g}", value(reached), *spread, *best]


def caption(label: str, x: str, lines: Sequence[Series], way: Way) -> str:
    """Under the chart."""
    several = max((len(line.ends) for line in lines), default=1) > 1
    band = (
        f"the middle {way.middle:.0%} of the runs"
        if way.middle < 1
        else "the range of the replicates"
    )
    shown = f", with {band} as a band" if several and not way.colouring.axis else ""
    return f"{label} against {X_AXES[x]}{shown}."


def reading(drawn: Mapping[str, Sequence[Series]], way: Way, marked: bool) -> list[str]:
    """How to read the charts."""
    several = max(len(line.ends) for lines in drawn.values() for line in lines) > 1
    band = "" if way.colouring.axis else ", a band reaches from the least to the greatest of them"
    band = (
        f", a band holds the middle {way.middle:.0%} of them at each place"
        if way.middle < 1
        else band
    )
    means = [
        f"A line is the mean of the trials of its series{band}.",
        (
            "A trial that is done or was stopped early holds its last value to the end of its"
            " series; one that diverged or failed leaves the mean where its curve ends, and may"
            " move it there."
        ),
    ]
    ends = (
        "A mark stands where a trial's curve ends. Click it for its trial; `scalelab show DIGEST`"
        " tells all of one."
    )
    many = "The trials are too many for a mark at the end of each."
    return [*(means if several else []), ends if marked else many, *_estimates(drawn)]


def _estimates(drawn: Mapping[str, Sequence[Series]]) -> list[str]:
    sampled = [metric for metric in _SAMPLED if metric in drawn]
    text = (
        f"The curves of {' and '.join(sampled)} are estimates: an evaluation asks a sample of the"
        " questions. The final values, which `scalelab show DIGEST` tells, are measured in full."
    )
    return [text] if sampled else []


def methods(rows: Rows, x: str, axes: Sequence[str], way: Way) -> list[str]:
    """Where the numbers come from."""
    asked = [
        f"{name}: {spec['about']}" for name, spec in sorted(rows.specs.items()) if spec.get("about")
    ]
    apart = (
        f"Series are told apart by {', '.join(axes)}."
        if axes
        else "The trials differ in their seeds alone."
    )
    places = {
        "seconds": "Seconds are wall time with evaluations, the attempts of a trial added up.",
        "flops": "FLOPs are those of the plan's closed forms, for as many steps as were run.",
        "tokens": "Tokens are those that were trained on, repetitions and padding counted.",
        "steps": "A step is one update of the weights.",
    }[x]
    between = (
        "Values are those that were recorded in training; between two of them a line is straight."
        " What is not finite is left out."
    )
    told = averages(rows.trials)
    return [*asked, apart, *([way.text] if way.text else []), places, between, *told]
