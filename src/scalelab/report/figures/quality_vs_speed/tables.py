"""The tables of fig. 9: sizes and quality, speeds and memory, differences to the first arm."""

from collections.abc import Sequence
from statistics import fmean

import polars as pl

from scalelab.core.metrics import column_of, metric_of
from scalelab.fit.replicates import ratio
from scalelab.report.arms import Arm, Arms
from scalelab.report.averages import labelled
from scalelab.report.figure import Table
from scalelab.report.figures.quality_vs_speed.speeds import CACHE, KINDS, TRAINING, Place, places
from scalelab.report.numbers import NONE, TIMES, about, whole, with_error

_SHOWN = ("perplexity", "bits_per_byte")
"""Metrics that stand beside the one that is drawn."""
_DELTA = "\N{GREEK CAPITAL LETTER DELTA} "


def qualities(arms: Arms, metric: str) -> list[str]:
    """The drawn metric, and those beside it that some arm has."""
    return [
        metric,
        *(
            name
            for name in _SHOWN
            if name != metric and any(arm.by_seed(column_of(name)) for arm in arms.found)
        ),
    ]


def sizes_table(arms: Arms) -> Table:
    """What each arm is."""
    columns = (
        "arm",
        "active parameters",
        "all parameters",
        "FFN",
        "experts",
        "heads",
        "key heads",
        "replicates",
    )
    rows = [
        [
            arm.label,
            _count(arm, "params.active"),
            _count(arm, "params.total"),
            *_ffn(arm),
            *_heads(arm),
            f"{len(arm.digests)}",
        ]
        for arm in arms.found
    ]
    note = (
        "FFN: the hidden width, of a mixture an expert's; experts: how many a token is sent to, and"
        " shared ones."
    )
    return Table("The arms", columns, rows, frozenset(range(1, len(columns))), note)


def quality_table(arms: Arms, metric: str) -> Table:
    """What each arm reaches, and how it differs from the first."""
    shown = qualities(arms, metric)
    told_from = any(map(arms.base, arms.found))
    compared = [name for name in shown if told_from and (name != "perplexity" or name == metric)]
    titles = [(name, title) for name in shown for title in ("", _DELTA)[: 1 + (name in compared)]]
    trials = arms.found[0].trials
    columns = ("arm", *(title + labelled(name, trials).replace("_", " ") for name, title in titles))
    rows = []
    for arm in arms.found:
        told = [
            arms.difference(arm, column_of(name)) if title else arm.mean(column_of(name))
            for name, title in titles
        ]
        rows.append([arm.label, *map(with_error, told)])
    note = (
        f"With half the 95 % interval. {_DELTA.strip()}: less what {arms.names[0]} has, paired by"
        " seed; where it is no larger than its own error, the arm is not told from that one. The"
        " errors are not corrected for the number of arms, the verdict is."
    )
    return Table("Quality", columns, rows, frozenset(range(1, len(columns))), note)


def _count(arm: Arm, column: str) -> str:
    found = arm.first(column)
    return NONE if found is None else whole(found)


def _ffn(arm: Arm) -> list[str]:
    """The hidden width, and the experts."""
    width = NONE if arm.first("model.ffn.width") is None else f"{arm.first('model.ffn.width'):,}"
    if arm.first("model.ffn.kind") != "moe":
        return [width, NONE]
    shared = arm.first("model.ffn.shared")
    return [
        width,
        (
            f"{arm.first('model.ffn.chosen')} of"
            f" {arm.first('model.ffn.experts')}{f' + {shared}' if shared else ''}"
        ),
    ]


def _heads(arm: Arm) -> list[str]:
    heads, keys = arm.first("model.heads"), arm.first("model.kv_heads")
    return [
        NONE if found is None else f"{found}" for found in (heads, heads if keys is None else keys)
    ]


def speeds_table(arms: Arms, place: Place | None) -> Table:
    """How fast each arm trains and decodes, and what its cache takes."""
    kinds = list(KINDS) if place else []
    columns = [
        "arm",
        "training",
        *(["decoding, cache", "decoding, none", f"cache {TIMES}", "prefill"] if place else []),
        "bytes of cache",
    ]
    rows = []
    for arm in arms.found:
        timed = [with_error(arm.mean(place.column(kind))) for kind in kinds] if place else []
        if place:
            timed.insert(2, _times(arm, place))
        rows.append(
            [arm.label, with_error(arm.mean(TRAINING)), *timed, with_error(arm.mean(CACHE))]
        )
    where = f" ({place.said})" if place else ""
    note = f"Tokens per second{where}; bytes of cache are those for a token of one lane."
    return Table("Speed and memory", columns, rows, frozenset(range(1, len(columns))), note)


def _times(arm: Arm, place: Place) -> str:
    found = ratio(arm.by_seed(place.column("decode")), arm.by_seed(place.column("uncached")))
    return NONE if found is None else about(found, ".2f")


def ratios_table(arms: Arms, place: Place | None) -> list[Table]:
    """How many times the first arm's speed and memory each arm has; nothing where there is nothing
    to compare.
    """
    compared = [arm for arm in arms.found if arms.base(arm)]
    if not compared:
        return []
    speeds = {"training": TRAINING} | (
        {"decoding": place.column("decode"), "prefill": place.column("prefill")} if place else {}
    )
    speeds |= {"cache": CACHE}
    columns = ("arm", *(f"{name} {TIMES}" for name in speeds))
    rows = [
        [
            arm.label,
            *(
                NONE if (found := arms.ratio(arm, column)) is None else about(found, ".2f")
                for column in speeds.values()
            ),
        ]
        for arm in compared
    ]
    note = (
        "Ratios with their 95 % intervals, paired by seed; one that holds 1 does not tell the arm"
        " from the first. They are not corrected for the number of arms."
    )
    return [
        Table(
            f"Speed and memory against {arms.names[0]}",
            columns,
            rows,
            frozenset(range(1, len(columns))),
            note,
        )
    ]


def places_table(arms: Arms, found: Sequence[Place]) -> list[Table]:
    """Decoding at every context and number of lanes, where there are several."""
    if len(found) < 2:
        return []
    columns = (
        "arm",
        "context",
        "lanes",
        "decoding, cache",
        "decoding, none",
        f"cache {TIMES}",
        "prefill",
    )
    rows = []
    for arm in arms.found:
        for place in found:
            decode, uncached, prefill = (with_error(arm.mean(place.column(kind))) for kind in KINDS)
            rows.append(
                [
                    arm.label,
                    f"{place.context:,}",
                    f"{place.lanes:,}",
                    decode,
                    uncached,
                    _times(arm, place),
                    prefill,
                ]
            )
    return [
        Table(
            "Decoding at every context",
            columns,
            rows,
            frozenset(range(1, len(columns))),
            "Tokens per second of all lanes together.",
        )
    ]


def replicates_table(arms: Arms, metric: str) -> Table:
    """Every replicate with what was measured of it."""
    timed = [
        place.column(kind)
        for place in places(pl.concat([arm.trials for arm in arms.found]))
        for kind in KINDS
    ]
    wanted = [*(column_of(name) for name in qualities(arms, metric)), TRAINING, CACHE, *timed]
    shown = [column for column in wanted if any(arm.by_seed(column) for arm in arms.found)]
    names = [labelled(metric_of(column), arms.found[0].trials) for column in shown]
    columns = ("digest", "arm", "seed", *names)
    rows = []
    for arm in arms.found:
        for trial in arm.trials.iter_rows(named=True):
            values = [
                "" if trial.get(column) is None else f"{trial[column]:.6g}" for column in shown
            ]
            rows.append([trial["digest"], arm.label, f"{trial['seed']}", *values])
    return Table("Every replicate", columns, rows, frozenset(range(2, len(columns))))


def spread(arms: Sequence[Arm], place: Place) -> tuple[float, float] | None:
    """The least and the greatest speed-up by the cache among arms; None where it was
    not measured.
    """
    found = [
        fmean(decode.values()) / fmean(uncached.values())
        for arm in arms
        if (decode := arm.by_seed(place.column("decode")))
        and (uncached := arm.by_seed(place.column("uncached")))
    ]
    return (min(found), max(found)) if found else None
