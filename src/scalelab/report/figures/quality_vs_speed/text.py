"""What fig. 9 says: which arm is best and by how much, how fast it is, and what a reader is warned
of.
"""

from collections.abc import Sequence

import polars as pl

from scalelab.core.metrics import column_of, is_lower_better
from scalelab.fit.estimate import Estimate
from scalelab.fit.warned import Warned
from scalelab.report.arms import Arm, Arms
from scalelab.report.averages import averages, labelled
from scalelab.report.figure import Rows
from scalelab.report.figures.quality_vs_speed.speeds import CACHE, Place
from scalelab.report.figures.quality_vs_speed.tables import spread
from scalelab.report.judging import METHOD, Judged, judged, left_out
from scalelab.report.numbers import TIMES, about, span, with_error
from scalelab.report.runs import state_counts, varying

METRIC = "test_loss"
"""The metric of quality where none is named."""
ALIKE = 0.02
"""Arms whose active parameters differ by a larger share of the smallest are not of one size."""
_SETTINGS = 3
"""Settings that the verdict goes through; the tables have all."""


def verdict(arms: Arms, metric: str, speed: str, place: Place | None) -> list[str]:
    """For each setting the best arm, those that are told from the first, and the fastest."""
    said, shown = [], arms.settings[:_SETTINGS]
    for setting in shown:
        group, before = arms.of_setting(setting), f"{setting}: " if setting else ""
        said += [
            before + sentence
            for sentence in (
                *_best(arms, group, metric),
                *_others(arms, group, metric),
                *_fastest(arms, group, speed),
            )
        ]
    found = spread(arms.found, place) if place else None
    if place and found:
        times = (
            f"{found[0]:.3g}"
            if f"{found[0]:.3g}" == f"{found[1]:.3g}"
            else f"{found[0]:.3g} to {found[1]:.3g}"
        )
        said.append(f"With a cache, decoding is {times} times as fast as without ({place.said}).")
    rest = len(arms.settings) - len(shown)
    return [
        *said,
        *([f"{rest} more setting{'s' if rest > 1 else ''} in the tables."] if rest else []),
    ]


def _named(arm: Arm) -> str:
    return f"`{arm.name}`"


def _best(arms: Arms, group: Sequence[Arm], metric: str) -> list[str]:
    """The best mean, and whether it is told from that of the first arm."""
    column, less = column_of(metric), is_lower_better(metric)
    best = (min if less else max)(group, key=lambda arm: _value(arm, column))
    said = (
        f"{_named(best)} has the {'lowest' if less else 'highest'} {labelled(metric, best.trials)}:"
        f" {with_error(best.mean(column))}"
    )
    base, away = arms.base(best), arms.difference(best, column)
    if base is None or away is None:
        return [f"{said}."]
    way = "below" if away.value < 0 else "above"
    interval = _turned(away)
    if interval is None:
        return [
            f"{said}, {abs(away.value):.3g} {way} {_named(base)} (no interval: it needs two pairs"
            " of equal seed)."
        ]
    if _holds(away, 0.0):
        return [
            f"{said}, but the 95 % interval of its difference to {_named(base)}, {about(away)},"
            " contains zero."
        ]
    (judgement,) = [one for one in differing(arms, group, column) if one.arm is best]
    if not judgement.is_told:
        return [
            f"{said}, but it is not told from {_named(base)}: {about(away)},"
            f" {judgement.correction}."
        ]
    return [
        f"{said}, {abs(away.value):.3g} {way} {_named(base)} (95 %: {span(interval, '.3g')}, paired"
        f" by seed; {judgement.correction})."
    ]


def differing(arms: Arms, group: Sequence[Arm], column: str) -> list[Judged]:
    """The arms of a setting against the first one, judged together."""
    return judged(
        [
            (arm, base, away)
            for arm in group
            if (base := arms.base(arm)) and (away := arms.difference(arm, column))
        ]
    )


def multiplying(arms: Arms, group: Sequence[Arm], column: str) -> list[Judged]:
    """The same of the ratios to the first one."""
    return judged(
        [
            (arm, base, times)
            for arm in group
            if (base := arms.base(arm)) and (times := arms.ratio(arm, column))
        ]
    )


def _value(arm: Arm, column: str) -> float:
    found = arm.mean(column)
    assert found is not None, "an arm has a finite value"
    return found.value


def _turned(away: Estimate) -> tuple[float, float] | None:
    """The interval of the distance, whatever its sign."""
    if away.ci95 is None:
        return None
    low, high = away.ci95
    return (low, high) if away.value >= 0 else (-high, -low)


def _holds(found: Estimate, value: float) -> bool:
    return found.ci95 is not None and found.ci95[0] <= value <= found.ci95[1]


def _others(arms: Arms, group: Sequence[Arm], metric: str) -> list[str]:
    """Every arm against the first, in three parts: better, worse, not told from it."""
    column, less = column_of(metric), is_lower_better(metric)
    compared = [one for one in differing(arms, group, column) if one.p is not None]
    if len(compared) < 2:
        return []
    told = [one for one in compared if one.is_told]
    parts = {
        "better": [one for one in told if (one.found.value < 0) == less],
        "worse": [one for one in told if (one.found.value < 0) != less],
        f"not told from it (corrected for {len(compared)} arms)": [
            one for one in compared if not one.is_told
        ],
    }
    listed = "; ".join(
        f"{said}: {', '.join(_named(one.arm) for one in chosen)}"
        for said, chosen in parts.items()
        if chosen
    )
    return [f"Against {_named(compared[0].base)}, {listed}."]


def _fastest(arms: Arms, group: Sequence[Arm], speed: str) -> list[str]:
    """The arm of the highest speed, and of how much cache."""
    known = [arm for arm in group if arm.by_seed(speed)]
    if not known:
        return []
    fastest = max(known, key=lambda arm: _value(arm, speed))
    reached = f"{with_error(fastest.mean(speed))} tokens/s"
    said = f"{_named(fastest)} is the fastest: {reached}"
    base, times, cache = arms.base(fastest), arms.ratio(fastest, speed), arms.ratio(fastest, CACHE)
    if base is None or times is None:
        return [f"{said}."]
    of_cache = f", with {cache.value:.3g} {TIMES} its bytes of cache" if cache else ""
    (judgement,) = [one for one in multiplying(arms, group, speed) if one.arm is fastest]
    if judgement.p is not None and not judgement.is_told:
        return [
            f"{_named(fastest)} has the highest speed, {reached}, not told from {_named(base)}"
            f" ({judgement.correction}){of_cache}."
        ]
    interval = f" (95 %: {span(times.ci95, '.3g')}; {judgement.correction})" if times.ci95 else ""
    return [f"{said}, {times.value:.3g} {TIMES} {_named(base)}{interval}{of_cache}."]


def reading(arms: Arms) -> list[str]:
    """How to read the charts."""
    joined = ["A line joins one arm in several settings."] if len(arms.settings) > 1 else []
    return [
        (
            "A mark is the mean of an arm's replicates, its cross the 95 % interval of that mean on"
            " either axis; faint: the replicates."
        ),
        *joined,
        (
            "Differences are more certain than the crosses show: replicates of equal seed see the"
            " same data in the same order, and are compared pair by pair. Where the interval of a"
            " difference reaches over zero, these replicates do not tell the two arms apart; of"
            " several arms one may leave it by luck, which the verdict allows for."
        ),
        (
            "Point at a mark to see its trials; click it to find them among the runs below;"
            " `scalelab show DIGEST` tells all of one."
        ),
    ]


def methods(rows: Rows, arms: Arms, metric: str, place: Place | None) -> list[str]:
    """Where the numbers come from."""
    asked = [
        f"{name}: {spec['about']}" for name, spec in sorted(rows.specs.items()) if spec.get("about")
    ]
    states = ", ".join(f"{count:,} {state}" for state, count in state_counts(rows.trials).items())
    timed = (
        "Decoding speeds are those at {}; with a cache (decode), without one (the whole prefix"
        " again for each token), and prefill alone. All are wall time at the end of a trial, on the"
        " machine that ran it."
    )
    return [
        *asked,
        f"Trials by state: {states}. Done and stopped trials count with their final {metric}.",
        (
            f"Arms are told apart by {', '.join(arms.axes) or 'nothing'}. Their trials differ in"
            " the seed alone."
        ),
        (
            "Intervals are Student's t over the replicates, n - 1 degrees of freedom; those of"
            " ratios on their logarithms."
        ),
        METHOD,
        *averages(rows.trials),
        *([timed.format(place.said)] if place else []),
        "Training speed counts evaluations in.",
    ]


def warnings(rows: Rows, arms: Arms, metric: str) -> list[Warned]:
    """What keeps these arms from being compared as they stand."""
    found = [*_unlike(arms, metric), *_sizes(arms), *_replicates(arms), *_machines(rows, arms)]
    return [*found, *left_out(rows.trials)]


def _unlike(arms: Arms, metric: str) -> list[Warned]:
    """Columns that say on what and how long an arm was trained, where they differ."""
    found = []
    within = dict.fromkeys(
        path
        for setting in arms.settings
        for path in _different(pl.concat([a.trials for a in arms.of_setting(setting)]))
    )
    if within:
        listed, texts = (
            ", ".join(f"`{path}`" for path in within),
            any(path.startswith("task.") for path in within),
        )
        cure = (
            "their bits per byte compare, if the text is the same"
            if any("tokens" in path for path in within) and texts
            else ""
        )
        text = (
            f"Arms that are compared differ in {listed}: their {metric} is not of the"
            f" same{' text' if texts else ' length of training'}"
        )
        found.append(Warned("unlike_arms", f"{text}{f'; {cure}' if cure else ''}."))
    apart = [
        path
        for path in _different(pl.concat([arm.trials for arm in arms.found]))
        if path not in within
    ]
    if apart:
        listed = ", ".join(f"`{path}`" for path in apart)
        found.append(
            Warned(
                "several_settings",
                f"The trials differ in {listed}: each value is drawn apart, and compared within"
                " itself alone.",
            )
        )
    mixed = [
        arm.label
        for arm in arms.found
        if "configuration" in arm.trials.columns and arm.trials["configuration"].n_unique() > 1
    ]
    if mixed:
        listed = ", ".join(f"`{label}`" for label in mixed)
        found.append(
            Warned(
                "mixed_arm",
                f"{listed} holds trials that differ in more than their seeds: see `scalelab"
                " compare`.",
            )
        )
    return found


def _different(trials: pl.DataFrame) -> list[str]:
    """Task fields, and the length of training, that differ among these trials."""
    found = [path for path in varying(trials, []) if path.startswith("task.")]
    return [
        *found,
        *(
            ["tokens"]
            if "tokens" in trials.columns and trials["tokens"].drop_nulls().n_unique() > 1
            else []
        ),
    ]


def _sizes(arms: Arms) -> list[Warned]:
    """Arms of one setting that are not of one size."""
    for setting in arms.settings:
        sizes = {
            arm.name: size
            for arm in arms.of_setting(setting)
            if (size := arm.first("params.active")) is not None
        }
        if sizes and max(sizes.values()) > (1 + ALIKE) * min(sizes.values()):
            small, large = (
                min(sizes, key=lambda name: sizes[name]),
                max(sizes, key=lambda name: sizes[name]),
            )
            share = 100 * (sizes[large] / sizes[small] - 1)
            text = (
                f"`{large}` has {share:.0f} % more active parameters than `{small}`: what is better"
                " may just be larger."
            )
            return [Warned("unequal_sizes", text)]
    return []


def _replicates(arms: Arms) -> list[Warned]:
    fewest = min((len(arm.digests) for arm in arms.found), default=0)
    if fewest >= 3:
        return []
    return [
        Warned(
            "few_replicates",
            f"Some arm has {fewest} replicate{'s' if fewest > 1 else ''}: an interval worth its"
            " name needs three.",
        )
    ]


def _machines(rows: Rows, arms: Arms) -> list[Warned]:
    """Whether speeds come from different machines."""
    ran = {
        digest
        for arm in arms.found
        if "environment" in arm.trials.columns
        for digest in arm.trials["environment"].drop_nulls()
    }
    kinds = {
        (data.get("hostname"), data.get("platform"), data.get("cpus"))
        for name, data in rows.environments.items()
        if name in ran
    }
    if len(kinds) < 2:
        return []
    return [
        Warned(
            "several_machines",
            f"The trials ran on {len(kinds)} machines: their speeds do not compare.",
        )
    ]
