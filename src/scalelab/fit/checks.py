"""Warnings about a fit: what a reader must know before believing it, each with a code.

Shape letters: N rows, P free coefficients.
"""

from collections.abc import Iterator, Mapping
from itertools import combinations

import numpy as np
from scipy.spatial import KDTree

from scalelab.fit.bootstrap import FEW, Draws
from scalelab.fit.censored import Floats
from scalelab.fit.compute import symbols_of
from scalelab.fit.derived import budgets_of
from scalelab.fit.estimate import ENOUGH, Estimate, Interval
from scalelab.fit.law import Law
from scalelab.fit.optimum import Optimum
from scalelab.fit.problem import Problem
from scalelab.fit.profile import Profile
from scalelab.fit.projection import CrossCheck
from scalelab.fit.sample import Sample
from scalelab.fit.warned import Warned

LEVELS = 3
"""A power needs this many levels of its predictor."""

ALIKE = 0.97
"""Two predictors whose logarithms correlate more than this are hardly told apart."""

NEAR = 1e-3
"""Configurations closer than this in the logarithm of every predictor are near-duplicates."""

SHARE = 0.2
"""Fewer starts at the best objective than this make a better optimum elsewhere likely."""

AGREE = 1e-6
"""The cross-check may lie below the optimum by this part of it."""

NOTHING = 1e-3
"""An irreducible term whose interval reaches this part of the least target is not told
from zero.
"""


def sample_warnings(law: Law, sample: Sample) -> Iterator[Warned]:
    """What the rows alone show."""
    stopped = sample.states.count("stopped")
    if stopped:
        yield Warned(
            "stopped_used",
            f"{stopped} stopped trials are used, with the part of their budget that they ran.",
        )
    for reason, count in sample.dropped.items():
        code = f"{reason}_dropped" if reason.isidentifier() else "incomplete_dropped"
        yield Warned(code, f"{count} of {sample.rows} rows are left out: {reason}.")
    yield from _levels_warnings(law, sample)
    yield from _alike_warnings(law, sample)
    near = _near_duplicates(sample)
    if near:
        text = (
            f"{near} configurations lie within {NEAR:.1%} of another one in every predictor, and"
            " count as runs of their own."
        )
        yield Warned("near_duplicates", text)
    free, configurations = len(law.free), sample.configurations
    if configurations <= free:
        text = (
            f"There are {configurations} configurations for {free} coefficients: nothing tells"
            " scatter from law, so no intervals."
        )
        yield Warned("few_configurations", text)
    elif configurations < FEW:
        text = (
            f"There are {configurations} configurations, fewer than {FEW}: intervals come from a"
            " wild cluster bootstrap with Student's t."
        )
        yield Warned("small_design", text)
    if configurations == sample.y_N.size:
        text = (
            "Every configuration was run once: the scatter between seeds is not told from what the"
            " law misses."
        )
        yield Warned("one_per_configuration", text)


def _levels(column_N: Floats) -> int:
    """How many levels a predictor has; values within 1 % are one."""
    found, base = 0, -np.inf
    for value in np.unique(column_N):
        if value > base + 0.01 * abs(base) or found == 0:
            found, base = found + 1, float(value)
    return found


def _levels_warnings(law: Law, sample: Sample) -> Iterator[Warned]:
    for symbol, column_N in sample.columns.items():
        levels = _levels(column_N)
        if levels < LEVELS:
            text = (
                f"`{law.columns[symbol]}` has {levels} {'level' if levels == 1 else 'levels'}: a"
                f" power of it needs {LEVELS}."
            )
            yield Warned("few_levels", text)


def _alike_warnings(law: Law, sample: Sample) -> Iterator[Warned]:
    for first, second in combinations(sample.columns, 2):
        first_N, second_N = sample.columns[first], sample.columns[second]
        if min(first_N.min(), second_N.min()) <= 0 or min(_levels(first_N), _levels(second_N)) < 2:
            continue
        correlation = float(np.corrcoef(np.log(first_N), np.log(second_N))[0, 1])
        if abs(correlation) > ALIKE:
            names = f"`{law.columns[first]}` and `{law.columns[second]}`"
            text = (
                f"{names} go together (correlation of their logarithms {correlation:.3f}): their"
                " terms are hardly told apart."
            )
            yield Warned("collinear", text)


def _near_duplicates(sample: Sample) -> int:
    """How many configurations have another one next to them in every predictor."""
    columns = [np.log(column_N) for column_N in sample.columns.values() if (column_N > 0).all()]
    if len(columns) < len(sample.columns):
        return 0
    place_GK = np.stack(columns, axis=1)[np.unique(sample.cluster_N, return_index=True)[1]]
    beside_G = KDTree(place_GK).query_ball_point(place_GK, NEAR, p=np.inf, return_length=True)
    return int((np.asarray(beside_G) > 1).sum())


def optimum_warnings(
    problem: Problem, optimum: Optimum, check: CrossCheck | None
) -> Iterator[Warned]:
    """What the search for the optimum shows."""
    limits = _limits(problem)
    for name in optimum.at_bounds:
        value = optimum.coefficients[name]
        if name in limits:
            text = f"`{name}` lies at {value:.4g}: {_untold(name, value, limits[name])}."
        elif value:
            text = f"`{name}` lies at its bound ({value:.4g}): the optimum may lie beyond."
        else:
            text = f"`{name}` went to zero."
        yield Warned("at_bound", text)
    if optimum.at_best < SHARE * optimum.tried:
        how = "" if optimum.at_best else ", which was found by going on from the best of them"
        text = (
            f"{optimum.at_best} of {optimum.tried} starts reached the best objective{how}: there"
            " may be a better one."
        )
        yield Warned("few_starts_at_best", text)
    if problem.names and not optimum.moved:
        yield Warned("did_not_move", "The parameters did not move from their start.")
    exact = optimum.objective <= problem.negligible
    if exact:
        yield Warned(
            "no_scatter",
            "The law meets every row exactly: there is no scatter, and intervals say nothing about"
            " another run.",
        )
    # Where projection ends higher, it is projection that is stuck.
    if check is not None and not exact and check.objective < optimum.objective * (1 - AGREE):
        text = (
            f"Variable projection found {check.objective:.10g}, lower than the optimum"
            f" {optimum.objective:.10g}: more starts are needed."
        )
        yield Warned("projection_disagrees", text)
    floor = _floor(problem.law)
    if floor and optimum.coefficients[floor] > problem.y_N.min():
        text = (
            f"The irreducible term {floor} = {optimum.coefficients[floor]:.4g} lies above the least"
            f" target, {problem.y_N.min():.4g}."
        )
        yield Warned("loss_below_irreducible", text)


def _limits(problem: Problem) -> dict[str, Interval]:
    """The limits that follow from the rows, of the coefficients that have such."""
    return {axis.name: axis.told for axis in problem.axes if axis.told is not None}


def _untold(name: str, value: float, limits: Interval) -> str:
    """Which side of a limit the rows are silent about."""
    low, high = limits
    side = "above" if value * value > low * high else "below"
    return f"the rows do not tell `{name}` {side} {high if side == 'above' else low:.4g}"


def _floor(law: Law) -> str:
    """The irreducible term: by its name, E, in every law here that has one."""
    return "E" if "E" in law.coefficients else ""


def identity_warnings(
    problem: Problem,
    optimum: Optimum,
    estimates: Mapping[str, Estimate],
    profiles: Mapping[str, Profile],
) -> Iterator[Warned]:
    """Coefficients that the rows do not tell, and intervals that end where the rows stop telling.

    A closed profile outweighs starts that differ: these stopped on a slope too shallow to follow.
    """
    for name, limits in _limits(problem).items():
        for end in estimates[name].ci95 or ():
            at_limit = np.isclose(end, limits, rtol=1e-6, atol=0.0).any()
            if name not in optimum.at_bounds and at_limit:
                text = f"The interval of `{name}` ends at {end:.4g}: {_untold(name, end, limits)}."
                yield Warned("at_bound", text)
    vague = {
        name: f"its profile stays within the noise {_open_side(profile)} ({profile.noise})"
        for name, profile in profiles.items()
        if profile.ci95 is None and name not in optimum.at_bounds
    }
    vague |= {
        name: f"starts of the same objective differ from {low:.4g} to {high:.4g}"
        for name, (low, high) in optimum.ridges.items()
        if name not in profiles or profiles[name].ci95 is None
    }
    vague |= dict.fromkeys(
        _null(problem, optimum), "some change of it, with others, changes no prediction"
    )
    floor = _floor(problem.law)
    interval = estimates[floor].ci95 if floor in problem.law.free else None
    if interval is not None and interval[0] <= NOTHING * problem.y_N.min():
        vague[floor] = f"its interval, {interval[0]:.4g} to {interval[1]:.4g}, reaches zero"
    for name, why in vague.items():
        yield Warned("not_identified", f"`{name}` is not told by these rows: {why}.")


def _open_side(profile: Profile) -> str:
    low, high = profile.ends
    if low is not None:
        return f"everywhere above {low:.4g}"
    return "on both sides" if high is None else f"everywhere below {high:.4g}"


def _null(problem: Problem, optimum: Optimum) -> list[str]:
    """Free coefficients along whose common change, by the derivatives at the optimum, no prediction
    moves.
    """
    if not problem.names:
        return []
    step = 1e-5
    around_SP = optimum.theta_P + step * np.concatenate(
        [np.eye(len(problem.names)), -np.eye(len(problem.names))]
    )
    coefficients = problem.coefficients(np.clip(around_SP, problem.lower_P, problem.upper_P))
    value_SN = problem.predict(coefficients) / np.abs(problem.y_N).mean()
    slope_PN = (value_SN[: len(problem.names)] - value_SN[len(problem.names) :]) / (2 * step)
    if not np.isfinite(slope_PN).all():
        return []
    left_PP, size_P, _ = np.linalg.svd(slope_PN, full_matrices=True)
    size_P = np.pad(size_P, (0, len(problem.names) - size_P.size))
    null_PK = left_PP[:, size_P < 1e-8 * max(size_P[0], 1e-300)]
    return [
        name
        for name, part_K in zip(problem.names, null_PK, strict=True)
        if (np.abs(part_K) > 0.05).any()
    ]


def draws_warnings(draws: Draws | None, asked: int) -> Iterator[Warned]:
    """Refits that found no optimum."""
    if 0 < asked < ENOUGH:
        yield Warned(
            "few_draws",
            f"{asked} refits are too few for standard errors and intervals: ask for {ENOUGH} or"
            " more.",
        )
    if draws is not None and draws.failed:
        yield Warned(
            "draws_failed",
            f"{draws.failed} of {asked} refits of the bootstrap found no optimum and are left out.",
        )


def reach_warnings(law: Law, sample: Sample, budgets: list[float]) -> Iterator[Warned]:
    """How far beyond the data the derived numbers lie, in units of the data's own range."""
    symbols = symbols_of(law)
    if symbols is None or not budgets:
        return
    flops_N = 6 * sample.columns[symbols[0]] * sample.columns[symbols[1]]
    low, high, far = float(flops_N.min()), budgets_of(law, sample)[0], max(budgets)
    if far > high > low:
        ranges = np.log(far / high) / np.log(high / low)
        text = (
            f"Numbers at {far:.3g} FLOPs lie beyond the data ({low:.3g} to {high:.3g}) by"
            f" {ranges:.2g} times its range in logarithms."
        )
        yield Warned("extrapolation", text)
