"""What replicates say: a mean with its interval, and how two arms differ seed by seed.

Intervals are Student's t, at 95 %; the p-values of differences and ratios are those of the same t,
two-sided, each for itself (see `multiple` for several).
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import exp, isfinite, log, sqrt
from statistics import fmean, stdev

from scipy.stats import t as student

from scalelab.fit.estimate import Estimate

BySeed = Mapping[int, float]
"""What each replicate measured, by its seed."""


def mean(values: Sequence[float]) -> Estimate | None:
    """The mean of the finite values; without an interval for one of them, or where all are equal;
    None where there is none.
    """
    known = [value for value in values if isfinite(value)]
    if not known:
        return None
    se = stdev(known) / sqrt(len(known)) if len(known) > 1 else 0.0
    if not se > 0:
        return Estimate(fmean(known))
    half = float(student.ppf(0.975, len(known) - 1)) * se
    return Estimate(fmean(known), se, (fmean(known) - half, fmean(known) + half))


def difference(one: BySeed, other: BySeed) -> Estimate | None:
    """`one` less `other`, paired by seed; None where they have no seed in common."""
    return _away([one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())])


def ratio(one: BySeed, other: BySeed) -> Estimate | None:
    """`one` over `other`, paired by seed: the geometric mean of the ratios; None where they have no
    positive pair in common.
    """
    both = [(one[seed], other[seed]) for seed in sorted(one.keys() & other.keys())]
    found = _away([log(above / below) for above, below in both if above > 0 and below > 0])
    if found is None:
        return None
    value = exp(found.value)
    if found.se is None or found.ci95 is None:
        return Estimate(value)
    return Estimate(value, value * found.se, (exp(found.ci95[0]), exp(found.ci95[1])), p=found.p)


def _away(values: Sequence[float]) -> Estimate | None:
    """The mean with the p-value of its being zero."""
    found = mean(values)
    if found is None or found.se is None:
        return found
    freedom = sum(map(isfinite, values)) - 1
    return replace(found, p=float(2 * student.sf(abs(found.value) / found.se, freedom)))
