"""A store as Polars frames, for fits and figures."""

import gc
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import polars as pl
from sqlalchemy import Connection, Select, func, not_, select

from scalelab.core.canon import sha256
from scalelab.core.locations import DATA, embedded_text
from scalelab.plan.diff import flatten
from scalelab.store.database import table_of
from scalelab.store.pruning import IS_PRUNED
from scalelab.store.reader import CLAIM, CLAIMED, Reader
from scalelab.store.table import Published
from scalelab.store.tables import (
    Artifacts,
    Attempts,
    Environments,
    Experiments,
    Memberships,
    Metrics,
    Trials,
)

_trials, _members, _metrics = table_of(Trials), table_of(Memberships), table_of(Metrics)
_attempts, _environments, _experiments = (
    table_of(Attempts),
    table_of(Environments),
    table_of(Experiments),
)
_artifacts = table_of(Artifacts)

SCHEMA: dict[str, Any] = {
    "digest": pl.String,
    "experiment": pl.String,
    "state": pl.String,
    "origin": pl.String,
    "replicate": pl.Int64,
    "seed": pl.Int64,
    "steps": pl.Int64,
    "tokens": pl.Int64,
    "exposures": pl.Float64,
    "flops": pl.Float64,
    "step": pl.Int64,
    "seconds": pl.Float64,
    "commit": pl.String,
    "dirty": pl.String,
    "environment": pl.String,
    "configuration": pl.String,
}
"""Columns that every frame of trials has.

`step` and `seconds` are what was run, `steps` to `flops` the whole budget. Trials of one
`configuration` differ in nothing but the seed.
"""

ATTEMPT_SCHEMA: dict[str, Any] = {
    "digest": pl.String,
    "key": pl.String,
    "owner": pl.String,
    "state": pl.String,
    "started": pl.Float64,
    "ended": pl.Float64,
    "resumed": pl.Int64,
    "step": pl.Int64,
    "seconds": pl.Float64,
    "numerics": pl.String,
    "environment": pl.String,
    "error": pl.String,
}

FIT_SCHEMA: dict[str, Any] = {
    "key": pl.String,
    "experiment": pl.String,
    "law": pl.String,
    "created": pl.Float64,
    "record": pl.String,
    "result": pl.String,
}


def trials(
    store: Reader, experiments: Sequence[str] | None = None, *, pruned: bool = False
) -> pl.DataFrame:
    """One row for each trial in each experiment (all of them, where none is named), in the order of
    the plan.

    Columns: those of `SCHEMA`; every path of the resolved trial (`task.people`, `model.width`,
    ...), the experiment's axes among them; `params.*`; `metrics.*` (the last values); `extra.*` of
    imported rows. What a row doesn't have is null. `commit`, `dirty` and `environment` (see
    `Store.environments`) are those of the last attempt. Lists are JSON text. Trials that a search
    ended early have no result: only with `pruned` are they there, `metrics.pruned` the step of
    their end. Raises UserError for an experiment that the store does not know.
    """
    if experiments is not None:
        store.known(experiments)
    joined = CLAIMED.join(_members, _members.c.trial == _trials.c.id).join(
        _experiments, _experiments.c.name == _members.c.experiment
    )
    query = select(
        _trials, *CLAIM, _members.c.experiment, _members.c.axes, _members.c.replicate
    ).select_from(joined)
    query = query if pruned else query.where(not_(IS_PRUNED))
    query = query.order_by(
        _experiments.c.created, _members.c.experiment, _members.c.position, _trials.c.id
    )
    with store.database.reading() as connection:
        rows = connection.execute(
            query if experiments is None else query.where(_members.c.experiment.in_(experiments))
        ).all()
        origins = _origins(connection)
    return _frame([_columns(row, store.state_of(row)) | origins.get(row.id, {}) for row in rows])


def published(table: Published) -> pl.DataFrame:
    """The rows of a published table as `trials` gives them once it is imported."""
    pairs = zip(table.trials, table.results, strict=True)
    rows = [
        SimpleNamespace(**vars(record), **vars(result), experiment=table.experiment)
        for record, result in pairs
    ]
    return _frame([_columns(row, row.state) for row in rows])


def part_of(trial: Mapping[str, Any], name: str) -> dict[str, Any]:
    """A part of a row of `trials` as it was stored: `model` gives `{"kind": ..., "ffn": {...}}`."""
    found: dict[str, Any] = {}
    for path, value in trial.items():
        first, *above, last = path.split(".") if "." in path else ("", path)
        if first == name and value is not None:
            inside = found
            for key in above:
                inside = inside.setdefault(key, {})
            is_list = isinstance(value, str) and value.startswith("[")
            inside[last] = json.loads(value) if is_list else value
    return found


def metrics(
    store: Reader, experiments: Sequence[str] | None = None, names: Sequence[str] | None = None
) -> pl.DataFrame:
    """The curves, one after the other: `digest`, `step`, `name`, `value`; all of them, where no
    experiment or no metric is named.

    Raises UserError for an experiment that the store does not know.
    """
    keys = (_metrics.c.trial, _metrics.c.name, _metrics.c.step)
    query = select(*keys, _metrics.c.value).order_by(*keys)
    if experiments is not None:
        members = select(_members.c.trial).where(
            _members.c.experiment.in_(store.known(experiments))
        )
        query = query.where(_metrics.c.trial.in_(members))
    if names is not None:
        query = query.where(_metrics.c.name.in_(names))
    with store.database.reading() as connection:
        points = _table(
            connection,
            query,
            {"trial": pl.Int64, "name": pl.String, "step": pl.Int64, "value": pl.Float64},
        )
        digests = _table(
            connection,
            select(_trials.c.id, _trials.c.digest),
            {"trial": pl.Int64, "digest": pl.String},
        )
    values = points.with_columns(pl.col("value").fill_null(float("nan")))
    return values.join(digests, on="trial", maintain_order="left").select(
        "digest", "step", "name", "value"
    )


def metric_names(store: Reader, experiments: Sequence[str]) -> list[str]:
    """Every name that the curves of these experiments have.

    Raises UserError for an experiment that the store does not know.
    """
    members = select(_members.c.trial).where(_members.c.experiment.in_(store.known(experiments)))
    with store.database.reading() as connection:
        return sorted(
            connection.scalars(
                select(_metrics.c.name).where(_metrics.c.trial.in_(members)).distinct()
            )
        )


def attempts(store: Reader, experiments: Sequence[str] | None = None) -> pl.DataFrame:
    """Every execution of a trial, in the order in which they began; `numerics` is JSON text.

    Raises UserError for an experiment that the store does not know.
    """
    joined = _attempts.join(_trials).join(_environments)
    query = select(_trials.c.digest, _attempts, _environments.c.digest.label("origin")).select_from(
        joined
    )
    if experiments is not None:
        members = select(_members.c.trial).where(
            _members.c.experiment.in_(store.known(experiments))
        )
        query = query.where(_trials.c.id.in_(members))
    with store.database.reading() as connection:
        rows = [dict(row._mapping) for row in connection.execute(query.order_by(_attempts.c.id))]
    rows = [
        row | {"environment": row["origin"], "numerics": json.dumps(row["numerics"])}
        for row in rows
    ]
    return pl.DataFrame(
        [
            pl.Series(name, [row[name] for row in rows], dtype=kind)
            for name, kind in ATTEMPT_SCHEMA.items()
        ]
    )


def fits(store: Reader, experiments: Sequence[str] | None = None) -> pl.DataFrame:
    """Every fit that is kept, the newest last, without its draws; `record` and `result` are JSON
    text.

    Raises UserError for an experiment that the store does not know.
    """
    found = store.fits(experiments)
    plain = {
        name: [getattr(fit, name) for fit in found]
        for name in ("key", "experiment", "law", "created")
    }
    texts = {
        name: [json.dumps(getattr(fit, name)) for fit in found] for name in ("record", "result")
    }
    return pl.DataFrame(plain | texts, schema=FIT_SCHEMA)


def notes(store: Reader, experiments: Sequence[str]) -> dict[str, dict[str, str]]:
    """Digest -> name -> text of the artifacts that lie in the store itself, as `data:` URLs.

    Raises UserError for an experiment that the store does not know.
    """
    members = select(_members.c.trial).where(_members.c.experiment.in_(store.known(experiments)))
    query = select(_trials.c.digest, _artifacts.c.name, _artifacts.c.place).join(
        _artifacts, _artifacts.c.trial == _trials.c.id
    )
    found: dict[str, dict[str, str]] = {}
    with store.database.reading() as connection:
        for row in connection.execute(
            query.where(_trials.c.id.in_(members), _artifacts.c.place.startswith(DATA))
        ):
            found.setdefault(row.digest, {})[row.name] = embedded_text(row.place)
    return found


def _table(
    connection: Connection, query: Select[*tuple[Any, ...]], schema: dict[str, Any]
) -> pl.DataFrame:
    # The driver's own tuples: SQLAlchemy's rows take longer to make than all the rest.
    cursor = connection.execute(query).cursor
    assert cursor is not None
    with _no_collection():
        columns = list(zip(*cursor.fetchall(), strict=True))
    return pl.DataFrame(columns or None, schema=schema, orient="col")


@contextmanager
def _no_collection() -> Iterator[None]:
    """No search for garbage, which takes half the time where a million rows are made and none is
    garbage.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _columns(row: Any, state: str) -> dict[str, Any]:
    """One membership as a flat row. A length of 0 is one that nobody knows."""
    fixed = {
        "digest": row.digest,
        "experiment": row.experiment,
        "state": state,
        "origin": row.origin,
        "replicate": row.replicate,
        "steps": row.steps or None,
        "tokens": row.tokens or None,
        "exposures": row.exposures or None,
        "flops": row.flops or None,
        "step": row.step,
        "seconds": row.seconds,
        "configuration": sha256(
            {name: value for name, value in row.identity.items() if name != "seed"}
        ),
    }
    parts = {"params": row.params, "metrics": row.metrics, "extra": row.extra}
    return {**flatten(row.trial), **flatten(row.axes), **flatten(parts), **fixed, "seed": row.seed}


def _origins(connection: Connection) -> dict[int, dict[str, Any]]:
    """Trial -> where the code of its last attempt came from."""
    last = select(func.max(_attempts.c.id)).group_by(_attempts.c.trial)
    query = (
        select(_attempts.c.trial, _environments.c.digest, _environments.c.data)
        .join(_environments)
        .where(_attempts.c.id.in_(last))
    )
    return {
        row.trial: {
            "environment": row.digest,
            "commit": row.data.get("commit"),
            "dirty": row.data.get("dirty"),
        }
        for row in connection.execute(query)
    }


def _frame(rows: list[dict[str, Any]]) -> pl.DataFrame:
    names = [*SCHEMA, *sorted({name for row in rows for name in row} - SCHEMA.keys())]
    return pl.DataFrame([_series(name, [row.get(name) for row in rows]) for name in names])


def _series(name: str, values: Iterable[Any]) -> pl.Series:
    plain = [json.dumps(value) if isinstance(value, list | dict) else value for value in values]
    # FLOPs outgrow 64 bits, and a column of such integers would lose them.
    large = any(isinstance(value, int) and abs(value) >= 2**63 for value in plain)
    return pl.Series(name, plain, dtype=pl.Float64 if large else SCHEMA.get(name), strict=False)
