"""What fig. 6 says: its verdict, its tables, and how its checks were made."""

from collections.abc import Sequence

import numpy as np

from scalelab.report.figure import Table
from scalelab.report.figures.diagnostics.data import DRAWS, configuration, holdout_marks, most_moved
from scalelab.report.figures.diagnostics.diagnosis import DROPPED, MOST, Diagnosis
from scalelab.report.fits.text import law_line, residuals, target
from scalelab.report.numbers import MINUS, span


def verdict(one: Diagnosis, several: bool) -> list[str]:
    """What the figure shows, in a few sentences."""
    fit = one.fitted.fit
    before = f"{one.fitted.experiment}: " if several else ""
    residual_N = 100 * residuals(fit)
    half, most, worst = (
        np.median(np.abs(residual_N)),
        np.quantile(np.abs(residual_N), 0.95),
        residual_N[np.argmax(np.abs(residual_N))],
    )
    said = [
        f"{before}{law_line(fit)}. Half of the {residual_N.size:,} runs lie within {half:.2g} % of"
        f" it, 95 % within {most:.2g} %; the farthest is {signed(float(worst), '.1f')} % off."
    ]
    vague = [name for name, found in fit.profiles.items() if found.ci95 is None]
    profiles = (
        f"; not told by these runs: {', '.join(vague)}"
        if vague
        else "; the profile of every coefficient closes"
        if fit.profiles
        else ""
    )
    said.append(
        f"{fit.optimum.at_best:,} of {fit.optimum.tried:,} starts end at the best"
        f" objective{profiles}."
    )
    if one.moves:
        index = most_moved(one)[0]
        name = max(
            one.shown, key=lambda name: abs(np.nan_to_num(one.moved(one.moves, name)[index]))
        )
        shift = signed(float(one.moved(one.moves, name)[index]), ".2f")
        said.append(
            f"No configuration moves a coefficient further than {configuration(one, index)[0]}"
            f" does: {name} by {shift} standard errors."
        )
    if one.holdout is not None:
        said.append(
            f"Held out and predicted from the rest ({one.holdout_about}), runs are"
            f" {one.holdout.error:.2%} off on average."
        )
    return said


def signed(value: float, form: str) -> str:
    """+0.51 or the same below zero with a true minus."""
    return format(value, "+" + form).replace("-", MINUS)


def pairs_caption(one: Diagnosis, shown: Sequence[tuple[str, str, float]]) -> str:
    """What the chart of pairs shows of how many."""
    varying = [
        name
        for name in one.fitted.fit.law.free
        if one.fitted.fit.draws is not None and np.ptp(one.fitted.fit.draws[name]) > 0
    ]
    every = len(varying) * (len(varying) - 1) // 2
    count = (
        f"the {len(shown)} of {every} pairs that correlate most"
        if every > len(shown)
        else "every pair"
    )
    return (
        f"Coefficients of up to {DRAWS} bootstrap refits, {count}; the cross is the fit. A narrow"
        " ridge says that only a combination of the two is known: their separate errors are large,"
        " that of a prediction need not be."
    )


def profiles_table(one: Diagnosis) -> Table:
    """Intervals by profile and by bootstrap."""
    fit = one.fitted.fit
    rows = []
    for name, found in fit.profiles.items():
        ends = ["never" if end is None else f"{end:.5g}" for end in found.ends]
        rows.append(
            [
                name,
                f"{fit.coefficients[name]:.5g}".replace("-", MINUS),
                *ends,
                span(fit.estimates[name].ci95, ".5g"),
            ]
        )
    noise = next((found.noise for found in fit.profiles.values()), "")
    columns = ("coefficient", "value", "lower end", "upper end", "95 %, bootstrap")
    return Table(
        "Intervals by profile",
        columns,
        rows,
        frozenset({1, 2, 3}),
        f"The noise scale: {noise}." if noise else "",
    )


def starts_table(one: Diagnosis) -> Table:
    """How far above the best the starts ended."""
    objective_S, best = one.fitted.fit.optimum.objectives_S, one.fitted.fit.optimum.objective
    finite_S = np.isfinite(objective_S)
    above_S = np.where(finite_S, objective_S / best - 1, np.inf)
    limits = (1e-6, 1e-4, 1e-2, 1.0)
    rows = [
        [
            f"within {limit:g}",
            f"{int((above_S <= limit).sum()):,}",
            f"{(above_S <= limit).mean():.1%}",
        ]
        for limit in limits
    ]
    rows.append(
        ["without a finite objective", f"{int((~finite_S).sum()):,}", f"{(~finite_S).mean():.1%}"]
    )
    return Table(
        "The starts",
        ("objective above the best, relative", "starts", "share"),
        rows,
        frozenset({1, 2}),
    )


def influence_table(one: Diagnosis) -> Table:
    """Every configuration, the one that moves most first."""
    rows = []
    for index in most_moved(one):
        name, digests = configuration(one, index)
        shifts = [
            signed(float(one.moved(one.moves, coefficient)[index]), ".3f")
            for coefficient in one.shown
        ]
        rows.append([digests[0], name.partition("(")[2].rstrip(")"), f"{len(digests)}", *shifts])
    columns = ("digest", "configuration", "runs", *one.shown)
    return Table("Shifts in standard errors", columns, rows, frozenset(range(2, len(columns))))


def drops_table(one: Diagnosis) -> Table:
    """The coefficients without the k highest runs."""
    count = len(next(iter(one.drops.values())))
    rows = [
        [f"{k}", *(f"{one.drops[name][k]:.5g}".replace("-", MINUS) for name in one.shown)]
        for k in range(count)
    ]
    return Table(
        "Coefficients", ("left out", *one.shown), rows, frozenset(range(len(one.shown) + 1))
    )


def holdout_table(one: Diagnosis) -> Table:
    """The runs held out, with what was predicted of them."""
    marks = [mark for mark in holdout_marks(one) if mark["part"] == "held out"]
    rows = [
        [
            mark["digests"][0],
            mark.get("size", ""),
            mark.get("length", ""),
            f"{mark['actual']:.5g}",
            f"{mark['predicted']:.5g}",
            mark["percent"],
        ]
        for mark in marks
    ]
    return Table(
        "Held out",
        ("digest", "parameters", "tokens", "actual", "predicted", "error"),
        rows,
        frozenset({1, 2, 3, 4, 5}),
    )


def reading() -> list[str]:
    """How to read the charts."""
    return [
        (
            "A residual is how far a run lies above the fitted law, in per cent of it. A good law"
            " leaves residuals without a pattern in anything."
        ),
        (
            "Intervals by profile and by bootstrap rest on different scales of noise; where they"
            " differ much, trust neither far."
        ),
        (
            "A shift of one standard error says that a single configuration matters as much as all"
            " chance in the choice of runs."
        ),
        (
            "Point at a mark to see its trials; click it to find them among the runs below;"
            " `scalelab show DIGEST` tells all of one."
        ),
    ]


def method(one: Diagnosis) -> list[str]:
    """How the checks were made."""
    fit = one.fitted.fit
    said = []
    if one.moves:
        cut = f" (the first {MOST:,})" if fit.sample.configurations > MOST else ""
        said.append(
            f"Influence: the law is fitted again without each configuration{cut}, and without the"
            f" up to {DROPPED} runs of the highest {target(fit)}, from the optimum and its rivals."
        )
    if one.holdout is not None:
        said.append(
            f"Hold-out: {'; '.join(fold.about for fold in one.holdout.folds[:3])}; each fold is"
            " fitted from starts of its own."
        )
    return said
