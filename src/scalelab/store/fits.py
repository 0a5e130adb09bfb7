"""Fits that a store keeps: what was asked, what came out, and the draws that its
intervals rest on.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, Row, select

from scalelab.store.database import Database, table_of
from scalelab.store.tables import Fits

if TYPE_CHECKING:
    import numpy as np

SINCE = 2
"""The schema version that has the table: an older store is read without it."""

_fits = table_of(Fits)


@dataclass(frozen=True)
class StoredFit:
    """A fit to the rows of an experiment."""

    key: str
    """Digest of all that decides it: the law as it was fitted, the rows, the draws and the seed."""
    experiment: str
    """Where several were fitted together, the first of them; `record` names them all."""
    law: str
    created: float
    """Seconds since the epoch."""
    record: Mapping[str, Any]
    """What was asked and of what: law, choices, filter, rows dropped, digests, seed."""
    result: Mapping[str, Any]
    """What came out, as `scalelab fit --json` prints it."""
    draws: "Mapping[str, np.ndarray]" = field(default_factory=dict)
    """Coefficient -> its value in every draw, [B]."""


def write_fit(database: Database, connection: Connection, fit: StoredFit) -> None:
    """Keep a fit; one with the same key is replaced."""
    row = {
        "key": fit.key,
        "experiment": fit.experiment,
        "law": fit.law,
        "created": fit.created,
        "record": dict(fit.record),
        "result": dict(fit.result),
        "draws": packed(fit.draws),
    }
    database.upsert(connection, Fits, [row], keys=("key",))


def read_fits(
    database: Database, connection: Connection, experiments: Sequence[str] | None
) -> list[StoredFit]:
    """The fits of these experiments (of all, where None), the newest last."""
    return [
        StoredFit(
            row.key,
            row.experiment,
            row.law,
            row.created,
            row.record,
            row.result,
            unpacked(row.draws),
        )
        for row in fit_rows(database, connection)
        if experiments is None or row.experiment in experiments
    ]


def fit_rows(database: Database, connection: Connection) -> Sequence[Row[*tuple[Any, ...]]]:
    """The rows of the table, the oldest first."""
    if database.kind.version(connection) < SINCE:
        return []
    return connection.execute(select(_fits).order_by(_fits.c.created, _fits.c.key)).all()


def packed(draws: "Mapping[str, np.ndarray]") -> bytes:
    """Draws as the bytes of an `.npz` file, every bit kept; the same draws give the same bytes."""
    import numpy as np

    buffer = io.BytesIO()
    values_KB = np.array(
        [np.asarray(values, dtype=np.float64) for values in draws.values()], dtype=np.float64
    )
    np.savez_compressed(buffer, names=np.array(list(draws), dtype=str), draws=values_KB)
    return buffer.getvalue()


def unpacked(content: bytes) -> "dict[str, np.ndarray]":
    """The draws back from the bytes."""
    import numpy as np

    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        return dict(zip(arrays["names"].tolist(), arrays["draws"], strict=True))
