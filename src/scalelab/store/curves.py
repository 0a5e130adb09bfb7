"""The curves of one trial, without Polars."""

import math

from sqlalchemy import select

from scalelab.store.database import table_of
from scalelab.store.reader import Reader
from scalelab.store.tables import Metrics, Trials

Curve = dict[tuple[int, str], float]
"""(step, metric) -> value."""

_metrics, _trials = table_of(Metrics), table_of(Trials)


def curve(store: Reader, digest: str) -> Curve:
    """Every value that was recorded of a trial, exactly, ordered by step; empty where the store
    does not know it.
    """
    query = (
        select(_metrics)
        .join(_trials, _trials.c.id == _metrics.c.trial)
        .where(_trials.c.digest == digest)
    )
    with store.database.reading() as connection:
        rows = connection.execute(query.order_by(_metrics.c.step, _metrics.c.name)).all()
    return {(row.step, row.name): math.nan if row.value is None else row.value for row in rows}
