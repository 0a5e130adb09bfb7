"""What the arms of fig. 11 are compared in: the task, and what is equal, parameters and tokens or
parameters and FLOPs.
"""

from dataclasses import replace

import polars as pl

from scalelab.core.metrics import column_of
from scalelab.families.family import LayerPool
from scalelab.fit.estimate import Estimate
from scalelab.fit.replicates import difference
from scalelab.report.arms import Arm, Arms
from scalelab.report.figure import Rows
from scalelab.report.runs import cell

LOSS = "held-out loss"
"""The test loss where there is one (text), else the validation loss (arithmetic)."""

_TASK, _EQUAL = "task.on", "budget.equal"


def with_settings(rows: Rows) -> Rows:
    """The rows with their task, what is equal among them, and the held-out loss as columns."""
    known = rows.trials
    if not {"task.kind", "seed", "state"} <= set(known.columns):
        return rows
    losses = [
        column_of(name)
        for name in ("test_loss", "validation_loss")
        if column_of(name) in known.columns
    ]
    loss = pl.coalesce(losses) if losses else pl.lit(None, pl.Float64)
    trials = known.with_columns(_task(known), _equal(known), loss.alias(column_of(LOSS)))
    specs = {
        name: {**spec, "axes": {_TASK: [], _EQUAL: [], **(spec.get("axes") or {})}}
        for name, spec in rows.specs.items()
    }
    every = None if rows.every is None else with_settings(rows.unfiltered).trials
    return replace(rows, trials=trials, specs=specs, every=every)


def _task(trials: pl.DataFrame) -> pl.Series:
    columns = [column for column in ("task.kind", "task.operation") if column in trials.columns]
    names = [" ".join(filter(None, map(cell, row))) for row in trials.select(columns).iter_rows()]
    return pl.Series(_TASK, names, dtype=pl.String)


def _equal(trials: pl.DataFrame) -> pl.Series:
    """`parameters` (and tokens) or `FLOPs`; with how many, where there are several such budgets."""
    given = (
        trials["budget.flops"].to_list()
        if "budget.flops" in trials.columns
        else [None] * trials.height
    )
    shown = [None if flops is None else cell(flops) for flops in given]
    several = len({flops for flops in shown if flops}) > 1
    names = [
        "parameters" if flops is None else f"FLOPs, {flops}" if several else "FLOPs"
        for flops in shown
    ]
    return pl.Series(_EQUAL, names, dtype=pl.String)


def arms_of(rows: Rows, column: str) -> Arms:
    """The arms of rows `with_settings`, by setting; settings in the order in which they were
    planned.
    """
    found = Arms.of(rows, [column])
    place = (
        {digest: at for at, digest in enumerate(rows.trials["digest"].to_list())}
        if found.found
        else {}
    )
    first = {
        setting: min(place[digest] for arm in found.of_setting(setting) for digest in arm.digests)
        for setting in found.settings
    }
    return Arms(sorted(found.found, key=lambda arm: first[arm.setting]), found.axes)


def plain_of(arms: Arms, arm: Arm) -> Arm | None:
    """The plain model in an arm's setting, which applies layers like those of the pools there in
    their order: what it is compared to.

    None for that one itself, and where there is none.
    """
    setting = arms.of_setting(arm.setting)
    plain = {pool.family for other in setting if (pool := pool_of(other)) is not None}
    found = next(
        (other for other in setting if other.model is not None and other.model.kind in plain), None
    )
    return None if found is arm else found


def pool_of(arm: Arm) -> LayerPool | None:
    """The pool of layers that its routes go through, whatever chooses among them."""
    return None if arm.model is None else arm.model.layer_pool


def learns_routes(arm: Arm) -> bool:
    """Whether what it chooses is learned."""
    pool = pool_of(arm)
    return pool is not None and pool.learned


def identities(arm: Arm) -> int:
    """Identity layers of its pool."""
    pool = pool_of(arm)
    return 0 if pool is None else pool.identity


def halts(arm: Arm) -> bool:
    """Whether its tokens may halt."""
    pool = pool_of(arm)
    return pool is not None and pool.halts


def counterpart(arms: Arms, arm: Arm) -> Arm | None:
    """The arm of the same policy in the same setting that neither halts nor has identity layers."""
    mine = pool_of(arm)
    for other in arms.of_setting(arm.setting):
        pool = pool_of(other)
        if mine is None or pool is None or other is arm or pool.policy != mine.policy:
            continue
        if not pool.halts and not pool.identity:
            return other
    return None


def away(arm: Arm, base: Arm | None, column: str) -> Estimate | None:
    """How much more the arm has than another one, paired by seed."""
    return None if base is None else difference(arm.by_seed(column), base.by_seed(column))


def first_settings(arms: Arms) -> list[str]:
    """The first setting of each task: what a page tells in one place alone."""
    by_task: dict[object, str] = {}
    for arm in arms.found:
        by_task.setdefault(arm.first(_TASK), arm.setting)
    return list(by_task.values())
