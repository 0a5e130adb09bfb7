"""Published results as trials of an experiment, so that every figure and fit works on them."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import bindparam, select, update

from scalelab.core.canon import canonical_json
from scalelab.core.errors import UserError
from scalelab.store.database import table_of
from scalelab.store.records import TrialRecord
from scalelab.store.registering import (
    end_members,
    imported_results,
    insert_new,
    next_position,
    stored_places,
    write_experiment,
    write_members,
)
from scalelab.store.store import Store
from scalelab.store.table import Published
from scalelab.store.tables import Experiments, Trials

_trials, _experiments = table_of(Trials), table_of(Experiments)


@dataclass(frozen=True)
class Adopted:
    """What an import did to its experiment, in trials."""

    new: int
    kept: int
    """Those that it had before, and has still."""
    left: int
    """Those that are no longer in the table; they stay in the store."""
    changed: int = 0
    """Those of the kept whose result is another one now."""


def adopt(store: Store, published: Published, *, add: bool = False) -> Adopted:
    """Import a table that was read (see `read_published`).

    The experiment is what its table says now: results are replaced, and imported trials that are no
    longer in it leave the experiment, unless `add` keeps them. Raises UserError where the
    experiment was run here, and then nothing is imported.
    """
    name, trials = published.experiment, published.trials
    with store.database.writing() as connection:
        spec = connection.scalar(select(_experiments.c.spec).where(_experiments.c.name == name))
        if spec is not None and "imported" not in spec:
            raise UserError(
                f"the experiment `{name}` was run here, and is not mixed with a table",
                cure="name another experiment in the mapping",
                where=store.database.kind.name,
            )
        before = imported_results(connection, name)
        write_experiment(
            store.database, connection, name, _spec(published, spec if add else None), store.clock()
        )
        ids = insert_new(connection, trials)
        rows = [
            {
                "of": ids[trial.digest],
                "state": result.state,
                "metrics": result.metrics,
                "seconds": result.seconds,
                "step": result.step,
                "extra": trial.extra,
            }
            for trial, result in zip(trials, published.results, strict=True)
        ]
        connection.execute(update(_trials).where(_trials.c.id == bindparam("of")), rows)
        leaving = [] if add else sorted(before.keys() - set(ids.values()))
        end_members(connection, name, leaving)
        if add:
            new = [trial for trial in trials if ids[trial.digest] not in before]
            trials = _numbered_on(new, stored_places(connection, name))
        begin = next_position(connection, name) if add else 0
        write_members(store.database, connection, name, trials, ids, begin=begin)
    kept = before.keys() & set(ids.values())
    changed = sum(
        row["of"] in kept and before[row["of"]] != (row["state"], row["metrics"]) for row in rows
    )
    return Adopted(len(ids) - len(kept), len(kept), len(leaving), changed)


def _numbered_on(trials: list[TrialRecord], stored: Counter[str]) -> list[TrialRecord]:
    """The trials with replicates that go on from those of the same configuration in the store."""
    found: list[TrialRecord] = []
    for trial in trials:
        place = canonical_json(trial.identity["columns"])
        found.append(replace(trial, replicate=stored[place]))
        stored[place] += 1
    return found


def _spec(published: Published, before: dict[str, Any] | None) -> dict[str, Any]:
    """What stands where a spec would: the table that the numbers come from, and those whose trials
    are there already.
    """
    table = published.source["table"]
    origin = {key: published.source[key] for key in ("table", "table_sha256", "mapping")}
    others = [] if before is None else [*before.get("others", []), before["imported"]]
    others = [other for other in others if other["table"] != table]
    spec = {
        "name": published.experiment,
        "about": f"Published results, imported from {table}.",
        "imported": origin,
    }
    return spec | ({"others": others} if others else {})
