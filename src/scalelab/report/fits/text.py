"""What figs. 4 to 6 say of a fit: the law in numbers, its tables, how it was made, and the marks of
its runs.
"""

import re
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from scalelab.core.metrics import metric_of
from scalelab.fit.bootstrap import FEW
from scalelab.fit.censored import Floats
from scalelab.fit.estimate import Estimate
from scalelab.fit.fit import Fit
from scalelab.fit.sample import describe
from scalelab.fit.warned import Warned
from scalelab.report.charts.marks import behind
from scalelab.report.figure import Table
from scalelab.report.fits.data import Fitted
from scalelab.report.numbers import MINUS, NONE, short, span

Span = tuple[float, float]

MARKS = 800
"""Runs drawn in one chart; the tables have all."""


def anchor(base: str, experiment: str, several: bool) -> str:
    """The name of a panel: with the experiment's where there are several."""
    return base + "-" + re.sub(r"[^A-Za-z0-9]+", "-", experiment).strip("-") if several else base


def compute(flops: float) -> str:
    """1.23e19, as on the axes."""
    return f"{flops:.3g}".replace("e+", "e")


def band(value_BX: Floats, else_X: Floats) -> Floats:
    """[2, X] the central 95 % of draws; `else_X` twice below 40 of them."""
    kept_BX = value_BX[np.isfinite(value_BX).all(axis=1)]
    return (
        np.quantile(kept_BX, (0.025, 0.975), axis=0)
        if len(kept_BX) >= 40
        else np.stack([else_X, else_X])
    )


def interval_words(about: Span | None, form: str) -> str:
    """` (95 %: 0.47 to 0.55)`; nothing where there is no interval."""
    return "" if about is None else f" (95 %: {span(about, form)})"


def shorts(about: Sequence[float]) -> str:
    """`7.1B to 9.8B`; nothing where there is no interval."""
    return "" if np.isnan(about[0]) else f"{short(float(about[0]))} to {short(float(about[1]))}"


def target(fit: Fit) -> str:
    """What the law predicts, as it is called on the page."""
    return metric_of(fit.law.target)


def law_line(fit: Fit) -> str:
    """The law with its coefficients put in, as `loss = 1.8172 + 477.8*N^-0.3473 + ...`."""
    names = sorted(fit.law.coefficients, key=len, reverse=True)
    said = re.sub(
        r"\b(" + "|".join(map(re.escape, names)) + r")\b",
        lambda found: f"{fit.coefficients[found[0]]:.4g}",
        fit.law.formula,
    )
    lets = (
        f" ({', '.join(f'{symbol} = {text}' for symbol, text in fit.law.let.items())})"
        if fit.law.let
        else ""
    )
    return (
        f"{target(fit)} = {said}{lets}".replace("*", "·")
        .replace("--", "")
        .replace("e+", "e")
        .replace("-", MINUS)
    )


def coefficients_table(one: Fitted, several: bool) -> Table:
    """Every coefficient with its error, its interval, and what the profile of the
    objective says.
    """
    rows = [
        [name, *_numbers(found), _profiled(one.fit, name)]
        for name, found in one.fit.estimates.items()
    ]
    noise = next(iter({profile.noise for profile in one.fit.profiles.values()}), "")
    note = f"Profile intervals rest on another scale of noise: {noise}." if noise else ""
    title = f"The coefficients of {one.experiment}" if several else "The coefficients"
    return Table(
        title,
        ("coefficient", "value", "standard error", "95 %, bootstrap", "95 %, profile"),
        rows,
        frozenset({1, 2}),
        note,
    )


def _profiled(fit: Fit, name: str) -> str:
    if name not in fit.profiles:
        return "tied" if name in fit.law.tied else "fixed" if name in fit.law.fixed else NONE
    found = fit.profiles[name].ci95
    return "not identified" if found is None else span(found, ".4g")


def derived_table(one: Fitted, several: bool) -> Table:
    """What follows from the coefficients, from the same draws."""
    rows = [
        [
            name.replace("e+", "e"),
            *_numbers(found),
            span(found.prediction95, ".4g") if found.prediction95 else "",
        ]
        for name, found in one.fit.derived.items()
    ]
    title = f"What follows for {one.experiment}" if several else "What follows from them"
    note = (
        "N*, D*: the best split of the compute in brackets, FLOPs at 6 N D. The last column is for"
        " one more run, its own scatter counted in."
    )
    return Table(
        title,
        ("number", "value", "standard error", "95 %, the law", "95 %, one more run"),
        rows,
        frozenset({1, 2}),
        note,
    )


def _numbers(found: Estimate) -> list[str]:
    value = f"{found.value:.5g}".replace("e+", "e").replace("-", MINUS)
    return [
        value,
        "" if found.se is None else f"{found.se:.3g}".replace("e+", "e"),
        span(found.ci95, ".4g").replace("e+", "e"),
    ]


def run_marks(one: Fitted) -> list[dict[str, Any]]:
    """One mark for each run: params, tokens (where the law has them), flops, loss, fitted, residual
    in per cent, its trial.
    """
    fit = one.fit
    fitted_N, residual_N = fit.predict(fit.sample.columns), 100 * residuals(fit)
    marks = []
    for row, digest in enumerate(fit.sample.digests):
        places = {place: float(column[row]) for place, column in one.places.items()}
        told = {"size": "params", "length": "tokens"}
        said = {
            name: short(places[place]) if place in places else NONE for name, place in told.items()
        }
        said["compute"] = compute(places["flops"]) if "flops" in places else NONE
        values = {
            "loss": float(fit.sample.y_N[row]),
            "fitted": float(fitted_N[row]),
            "residual": float(residual_N[row]),
        }
        marks.append(
            {
                **places,
                **values,
                **said,
                "percent": f"{values['residual']:+.2f} %",
                **behind([digest]),
            }
        )
    return marks


def fewer(marks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All marks, or of more than `MARKS` the half with the largest residuals and an even choice of
    the others, in their order.
    """
    if len(marks) <= MARKS:
        return marks
    order = np.argsort([-abs(mark["residual"]) for mark in marks], kind="stable")
    others = np.sort(order[MARKS // 2 :])
    even = others[
        np.unique(np.linspace(0, others.size - 1, MARKS - MARKS // 2).round().astype(int))
    ]
    return [marks[row] for row in sorted({*order[: MARKS // 2].tolist(), *even.tolist()})]


def residuals(fit: Fit) -> Floats:
    """[N] how far each run lies above the law, as a part of it; of the mean target, where the law
    or a run is not positive.
    """
    actual_N, fitted_N = fit.sample.y_N, fit.predict(fit.sample.columns)
    if min(actual_N.min(), fitted_N.min()) > 0:
        return np.log(actual_N / fitted_N)
    return (actual_N - fitted_N) / np.abs(actual_N).mean()


def runs_table(one: Fitted) -> Table:
    """The runs as they are drawn."""
    marks = run_marks(one)
    told = {"params": "parameters", "tokens": "tokens", "flops": "FLOPs"}
    places = [place for place in told if place in one.places]
    rows = [
        [
            mark["digests"][0],
            *(f"{mark[place]:.6g}" for place in places),
            f"{mark['loss']:.6g}",
            f"{mark['fitted']:.6g}",
            mark["percent"],
        ]
        for mark in marks
    ]
    columns = ("digest", *(told[place] for place in places), target(one.fit), "fitted", "residual")
    return Table("The runs", columns, rows, frozenset(range(1, len(columns))))


def warnings(one: Fitted, several: bool) -> list[Warned]:
    """The fit's own and that of mixed runs, with the experiment's name where there are several."""
    before = f"{one.experiment}: " if several else ""
    listed = ", ".join(f"`{name}`" for name in one.mixed)
    text = (
        f"{listed} {'differs' if len(one.mixed) == 1 else 'differ'} among the runs, and one law is"
        " fitted to all: draw one value with --filter."
    )
    mixed = [Warned("mixed_runs", before + text)] if one.mixed else []
    return [*mixed, *(Warned(found.code, before + found.text) for found in one.fit.warnings)]


def methods(one: Fitted, several: bool) -> list[str]:
    """How the fit was made, so that it could be made again."""
    fit = one.fit
    before = f"{one.experiment}: " if several else ""
    return [
        before + _law(fit),
        *_kept(one),
        _objective(fit),
        _rows(one),
        _search(fit),
        _errors(fit),
        *_checked(fit),
    ]


def _kept(one: Fitted) -> list[str]:
    """Where the fit is from, and what else the store keeps."""
    asked = one.fit.record["bootstrap"]["asked"]
    draws = "without draws" if one.fit.draws is None else f"with {asked:,} draws"
    said = ["The fit kept in the store." if one.is_stored else f"Fitted here {draws}."]
    if one.is_refitted:
        said = [
            f"Fitted again here {draws}: the store keeps this law as an older version of scalelab"
            " fitted it. Fit it again with `scalelab fit` to keep it as it is drawn."
        ]
    if one.unlike is None:
        return said
    record = one.unlike.record
    by = record.get("source", {}).get("filter")
    if by == one.filter:
        cure = "the rows have changed since; fit these with `scalelab fit`"
    else:
        cure = (
            "draw it without `--filter`"
            if by is None
            else f"draw it with `--filter {shlex.quote(by)}`"
        )
    about = "no filter" if by is None else f"filter `{by}`"
    return [
        *said,
        f"The store keeps a fit of {record['rows']['used']:,} other rows ({about}): {cure}.",
    ]


def _law(fit: Fit) -> str:
    law = fit.law
    where = [f"{symbol} is `{column}`" for symbol, column in law.columns.items()]
    where += [f"{symbol} = {text}" for symbol, text in law.let.items()]
    held = [f"{name} tied to {text}" for name, text in law.tied.items()] + [
        f"{name} fixed at {value:g}" for name, value in law.fixed.items()
    ]
    held += [f"{name} kept within {span(about, 'g')}" for name, about in law.bounds.items()]
    return (
        f"Law `{law.name}`: {target(fit)} = {law.formula}, where {', '.join([*where, *held])}."
        f" Source: {law.source or 'declared by the user'}."
    )


def _objective(fit: Fit) -> str:
    law = fit.law
    loss = f"Huber's loss (δ = {law.loss.delta:g})" if law.loss.kind == "huber" else "squares"
    residual = "log(predicted) - log(actual)" if law.residual == "log" else "predicted - actual"
    weights = f", weighted by `{law.weights}`" if law.weights else ""
    return (
        f"What is minimised: the sum (not the mean) of {loss} over residuals {residual}{weights};"
        f" at the optimum {fit.optimum.objective:.8g}."
    )


def _rows(one: Fitted) -> str:
    sample = one.fit.sample
    kept = (
        f"{len(sample.digests):,} runs of {sample.configurations:,} configurations (runs of one"
        " differ in nothing but the seed)"
    )
    notes = "".join(f" {note[:1].upper()}{note[1:]}." for note in sample.notes)
    notes += (
        f" Charts show {MARKS} of them, the farthest off the law among these."
        if len(sample.digests) > MARKS
        else ""
    )
    return (
        f"{kept}, of {sample.rows:,} rows; left out: {describe(sample.dropped)}. Done and stopped"
        f" runs count with the length that they ran.{notes}"
    )


def _search(fit: Fit) -> str:
    optimum = fit.optimum
    share = (
        f"{optimum.at_best:,} of {optimum.tried:,} starts end at the best objective (to one part in"
        " a million)"
    )
    at_bounds = f"; at a bound: {', '.join(optimum.at_bounds)}" if optimum.at_bounds else ""
    moved = "" if optimum.moved else "; the parameters did not move from their start"
    method = (
        "Quasi-Newton steps on analytic gradients, inputs divided by their geometric means, the"
        " best value seen kept"
    )
    return (
        f"{method}. {share}; starts: {optimum.box}. Gradient norm"
        f" {optimum.gradient_norm:.2g}{at_bounds}{moved}."
    )


def _errors(fit: Fit) -> str:
    draws = fit.draws
    if draws is None:
        return (
            "There are no intervals: no bootstrap was asked for, or there are no more"
            " configurations than coefficients."
        )
    how = {
        "pairs": "configurations are drawn with replacement, their replicates together",
        "wild": (
            f"a wild bootstrap by configuration, for fewer than {FEW}: residuals, widened for"
            " degrees of freedom, times random weights"
        ),
    }
    failed = f", {draws.failed} failed" if draws.failed else ""
    return (
        f"Intervals: {len(draws.values_BK):,} bootstrap refits{failed} (seed {fit.choices.seed});"
        f" {how[draws.kind]}. They are the central 95 % of the draws."
    )


def _checked(fit: Fit) -> list[str]:
    other = fit.cross_check
    if other is None:
        return []
    return [
        "Cross-check by variable projection, which shares no code with the search: objective"
        f" {other.objective:.8g}."
    ]
