"""Published results as trials of an experiment, so that every figure and fit works on them."""

import hashlib
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, select, update

from scalelab.core.errors import UserError
from scalelab.store.database import table_of
from scalelab.store.registering import insert_new, write_experiment, write_members
from scalelab.store.store import Store
from scalelab.store.table import read_published
from scalelab.store.tables import Experiments, Trials

_trials, _experiments = table_of(Trials), table_of(Experiments)


def adopt(store: Store, table: Path, mapping: Path) -> int:
    """Import a CSV table through a mapping (see `mapping`); returns how many trials it has.

    Again, it changes nothing.

    Raises UserError with file, row and column where a cell does not parse, and then nothing is
    imported.
    """
    published = read_published(table, mapping)
    name, trials = published.experiment, published.trials
    with store.database.writing() as connection:
        spec = connection.scalar(select(_experiments.c.spec).where(_experiments.c.name == name))
        if spec is not None and "imported" not in spec:
            cure = f"name another experiment in {mapping}"
            raise UserError(
                f"the experiment `{name}` was run here, and is not mixed with a table",
                cure=cure,
                where=store.database.kind.name,
            )
        write_experiment(
            store.database, connection, name, _spec(name, table, mapping), store.clock()
        )
        ids = insert_new(connection, trials)
        rows = [
            {
                "of": ids[trial.digest],
                "state": result.state,
                "metrics": result.metrics,
                "seconds": result.seconds,
                "step": result.step,
            }
            for trial, result in zip(trials, published.results, strict=True)
        ]
        connection.execute(update(_trials).where(_trials.c.id == bindparam("of")), rows)
        write_members(store.database, connection, name, trials, ids)
    return len(trials)


def _spec(name: str, table: Path, mapping: Path) -> dict[str, Any]:
    """What stands where a spec would: the table that the numbers come from."""
    origin = {
        "table": table.name,
        "table_sha256": hashlib.sha256(table.read_bytes()).hexdigest(),
        "mapping": mapping.read_text(encoding="utf-8"),
    }
    return {
        "name": name,
        "about": f"Published results, imported from {table.name}.",
        "imported": origin,
    }
