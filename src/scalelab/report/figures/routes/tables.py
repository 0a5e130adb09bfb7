"""The tables of fig. 11: the arms of each setting, the orders that they found, and where they spend
less.
"""

from collections.abc import Sequence

from scalelab.core.metrics import column_of, metric_of
from scalelab.report.arms import Arm, Arms
from scalelab.report.averages import labelled
from scalelab.report.figure import Table
from scalelab.report.figures.routes.arms import away, halts, identities, plain_of
from scalelab.report.figures.routes.data import Routed
from scalelab.report.numbers import NONE, with_error
from scalelab.report.runs import cell

_DELTA = "\N{GREEK CAPITAL LETTER DELTA}"
_ACCURACIES = ("metrics.accuracy", "metrics.accuracy_questions")


def arms_table(arms: Arms, setting: str, column: str) -> Table:
    """What each arm of a setting is given, and what it reaches."""
    group, metric = arms.of_setting(setting), metric_of(column)
    beside = [name for name in _ACCURACIES if any(arm.by_seed(name) for arm in group)]
    shown = list(dict.fromkeys([column, *beside]))
    titles = [
        title for name in shown for title in (labelled(metric_of(name), group[0].trials), _DELTA)
    ]
    columns = (
        "arm",
        "parameters",
        "tokens",
        "training FLOPs",
        "FLOPs a token",
        *titles,
        "replicates",
    )
    rows = []
    for arm in group:
        told = [
            with_error(found)
            for name in shown
            for found in (arm.mean(name), away(arm, plain_of(arms, arm), name))
        ]
        params = arm.first("params.total")
        given = [
            NONE if params is None else f"{params:,}",
            *(_measured(arm, name) for name in ("tokens", "flops", "flops_per_token")),
        ]
        rows.append([arm.name, *given, *told, f"{len(arm.digests)}"])
    note = (
        f"Means over the replicates with half their 95 % intervals. {_DELTA}: less what the plain"
        " transformer has, paired by seed; where it is no larger than its own error, the two are"
        f" not told apart by their {metric}. The errors are not corrected for the number of arms,"
        " the answers are. FLOPs a token: forward, as they were run."
    )
    title = f"The arms, {setting}" if setting else "The arms"
    return Table(title, columns, rows, frozenset(range(1, len(columns))), note)


def _measured(arm: Arm, name: str) -> str:
    """What was really spent; what was planned, where nothing says so."""
    found = arm.mean(column_of(name)) or arm.mean(name)
    return (
        NONE
        if found is None
        else f"{found.value:,.0f}"
        if found.value < 1e7
        else f"{found.value:.3g}".replace("e+", "e")
    )


def orders_table(found: Sequence[Routed]) -> Table:
    """The orders found, beside the original one."""
    columns = (
        "arm",
        "where",
        "most used, step by step",
        "original",
        "kept",
        "by chance",
        "distance",
        "entropy of a sequence, nats",
    )
    rows = []
    for one in found:
        original = " ".join(map(str, range(1, one.pool.layers + 1)))
        orders = "; ".join(
            f"{' '.join(order)} (seed {seed})" for seed, order in one.orders().items()
        )
        told = [
            with_error(one.arm.mean(column_of(name)))
            for name in ("order_kept", "order_distance", "sequence_entropy")
        ]
        rows.append(
            [
                one.arm.name,
                one.arm.setting,
                orders,
                original,
                told[0],
                f"{one.by_chance():.3g}",
                *told[1:],
            ]
        )
    note = (
        "Kept: the share of the choices at steps 1 to n that are layer 1 to n. Distance: edits from"
        " a token's route, identity layers left out, to 1 to n, by the longer of both. By chance:"
        " what even choices would keep. Layers that begin at random have no order that could be"
        " found again: only a pool of pre-trained layers has, and a closed policy is held to one."
    )
    return Table("The orders that were found", columns, rows, frozenset({4, 5, 6, 7}), note)


def saving_table(found: Sequence[Routed]) -> list[Table]:
    """Identity layers and steps used of the arms that may do less; none where no arm may."""
    saving = [one for one in found if identities(one.arm) or halts(one.arm)]
    if not saving:
        return []
    columns = (
        "arm",
        "where",
        "identity layers",
        "if even",
        "by step",
        "by kind of token",
        "steps used",
        "of at most",
        "FLOPs a token",
    )
    rows = []
    for one in saving:
        by_step = ", ".join(f"{100 * mean.value:.0f}" for _, mean in one.by_step("identity"))
        kinds = ", ".join(f"{kind} {100 * mean.value:.0f}" for kind, mean in one.by_kind())
        share, used = (
            with_error(one.arm.mean("metrics.identity_share")),
            with_error(one.arm.mean("metrics.steps_mean")),
        )
        even = f"{1 - one.pool.layers / one.pool.size:.2g}" if identities(one.arm) else NONE
        rows.append(
            [
                one.arm.name,
                one.arm.setting,
                share,
                even,
                by_step or NONE,
                kinds or NONE,
                used,
                f"{one.pool.steps}",
                _measured(one.arm, "flops_per_token"),
            ]
        )
    note = (
        "Shares of the choices that were an identity layer: of all, and in per cent by step and by"
        " kind of token."
    )
    return [Table("Where less is done", columns, rows, frozenset({2, 3, 6, 7, 8}), note)]


def replicates_table(group: Sequence[Arm], column: str) -> Table:
    """Every replicate of some arms with what was measured of it."""
    wanted = [
        column,
        *(
            column_of(name)
            for name in ("accuracy", "accuracy_questions", "tokens", "flops", "flops_per_token")
        ),
    ]
    shown = [name for name in dict.fromkeys(wanted) if any(arm.by_seed(name) for arm in group)]
    columns = ("digest", "arm", "seed", *(metric_of(name) for name in shown))
    trials = [(arm, trial) for arm in group for trial in arm.trials.iter_rows(named=True)]
    rows = [
        [trial["digest"], arm.name, f"{trial['seed']}", *(cell(trial.get(name)) for name in shown)]
        for arm, trial in trials
    ]
    return Table("Every replicate", columns, rows, frozenset(range(2, len(columns))))
