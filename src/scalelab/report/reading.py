"""Which rows of a store a figure takes, and the digest by which one knows them again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256 as hashed
from typing import Any

import polars as pl

from scalelab.core.canon import SHORT, sha256
from scalelab.core.errors import UserError
from scalelab.core.filter import compile_filter
from scalelab.fit.columns import check_range
from scalelab.fit.fit import ENGINE
from scalelab.optimize.result import is_search
from scalelab.report.figure import Figure, Rows
from scalelab.report.runs import state_counts
from scalelab.store.frames import metric_names, metrics, notes, trials
from scalelab.store.reader import Reader
from scalelab.store.records import StoredTrial

Choice = tuple[tuple[str, ...], bool]
"""Experiments, and whether the trials that a search ended early are among the rows."""


@dataclass
class Reading:
    """One store and one filter; what several figures take is read once."""

    store: Reader
    filter: str | None = None
    _trials: dict[Choice, pl.DataFrame] = field(default_factory=dict)
    _every: dict[Choice, pl.DataFrame] = field(default_factory=dict)
    _curves: dict[tuple[Choice, tuple[str, ...]], pl.DataFrame] = field(default_factory=dict)

    def names(self) -> list[str]:
        """The store's experiments, the newest last."""
        return [found.name for found in self.store.experiments()]

    def check(self, experiments: Sequence[str] | None) -> None:
        """Raises UserError for an unknown experiment, and for a filter that none of them, or of all
        in the store, can be chosen by.
        """
        wanted = [tuple(experiments)] if experiments else [(name,) for name in self.names()]
        faults: list[UserError] = []
        for chosen in wanted:
            try:
                self._kept((chosen, False))
            except UserError as fault:
                faults.append(fault)
        if faults and len(faults) == len(wanted):
            raise faults[0]

    def rows(self, figure: Figure, experiments: Sequence[str]) -> Rows:
        """What the figure draws of these experiments.

        Raises UserError for an unknown one and a filter that is none.
        """
        choice = (tuple(experiments), figure.needs_pruned)
        frame = self._kept(choice)
        specs = {
            found.name: found.spec
            for found in self.store.experiments()
            if found.name in experiments
        }
        ran_in = set(frame["environment"].drop_nulls())
        environments = {
            digest: data for digest, data in self.store.environments().items() if digest in ran_in
        }
        curves = self._drawn(figure, choice) if figure.needs_curves else pl.DataFrame()
        fits = self.store.fits(list(experiments)) if figure.needs_fits else []
        texts = notes(self.store, experiments) if figure.needs_notes else {}
        searches = self._searches(frame, specs) if figure.needs_searches else {}
        every = self._every[choice]
        return Rows(
            frame,
            specs,
            environments,
            curves,
            fits,
            texts,
            searches,
            filter=self.filter,
            before=every.height,
            every=every,
        )

    def _kept(self, choice: Choice) -> pl.DataFrame:
        if choice not in self._trials:
            experiments, pruned = choice
            frame = trials(self.store, list(experiments), pruned=pruned)
            keep = compile_filter(self.filter) if self.filter is not None else None
            self._every[choice] = frame
            self._trials[choice] = (
                frame.filter([keep(row) for row in frame.iter_rows(named=True)]) if keep else frame
            )
        return self._trials[choice]

    def _searches(
        self, frame: pl.DataFrame, specs: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, list[StoredTrial]]:
        """The trials of the frame that searches asked for, by their experiment."""
        kept = set(frame["digest"])
        return {
            name: [one for one in self.store.members(name) if one.record.digest in kept]
            for name, spec in specs.items()
            if is_search(spec)
        }

    def _drawn(self, figure: Figure, choice: Choice) -> pl.DataFrame:
        names = tuple(figure.curves_of(metric_names(self.store, choice[0])))
        if (choice, names) not in self._curves:
            kept = self._kept(choice).select("digest").unique()
            self._curves[choice, names] = metrics(self.store, choice[0], names).join(
                kept, on="digest", how="semi"
            )
        return self._curves[choice, names]


def take(
    reading: Reading, figure: Figure, experiments: Sequence[str] | None
) -> tuple[list[str], Rows]:
    """The experiments that a figure draws, with their rows: those that are named; else the
    registry's, else the only one with data.

    Raises UserError where there is no data, with the spec that makes it, and where several
    experiments could be meant.
    """
    if experiments:
        rows = reading.rows(figure, experiments)
        if not figure.has_data(rows):
            raise _without_data(reading, figure, experiments)
        _check_ranges(rows.trials)
        return list(experiments), rows
    found = having_data(reading, figure)
    if len(found) > 1 and figure.experiment not in found:
        listed = " or ".join(f"`--experiment {name}`" for name in found)
        raise UserError(
            f"figure {figure.number} ({figure.name}) has data in several experiments",
            cure=f"name one: {listed}",
        )
    if not found:
        raise _without_data(reading, figure, None)
    (name,) = found[:1]
    rows = reading.rows(figure, [name])
    _check_ranges(rows.trials)
    return [name], rows


def _check_ranges(trials: pl.DataFrame) -> None:
    """Tables that were imported before ranges were checked may hold a recall of 50.

    Raises UserError with the trial and the metric.
    """
    for column in trials.columns:
        check_range(trials, column)


def having_data(reading: Reading, figure: Figure) -> list[str]:
    """The experiments that the figure could draw: the registry's alone, where it has data; else
    every other one, the newest first.
    """
    known = reading.names()
    if figure.experiment in known and figure.has_data(reading.rows(figure, [figure.experiment])):
        return [figure.experiment]
    others = [name for name in reversed(known) if name != figure.experiment]
    found = []
    for name in others:
        try:
            if figure.has_data(reading.rows(figure, [name])):
                found.append(name)
        except UserError:  # The filter names what this experiment does not have.
            if len(known) == 1:
                raise
    return found


def _without_data(reading: Reading, figure: Figure, experiments: Sequence[str] | None) -> UserError:
    """What is missing, where, and what makes it: in the experiments that are named; else in the
    registry's, or where the store has not got that, in the newest.
    """
    known = reading.names()
    about = f"figure {figure.number} ({figure.name}) has no data"
    if not known:
        return UserError(f"{about}: the store has no experiment", cure=figure.cure)
    chosen = list(experiments or [figure.experiment if figure.experiment in known else known[-1]])
    rows = reading.rows(figure, chosen)
    where = " and ".join(f"`{name}`" for name in chosen)
    where += f" where {reading.filter}" if reading.filter else ""
    if others := 0 if experiments else len(known) - 1:
        where += f", nor in {others} other experiment{'s' if others > 1 else ''}"
    why, cure = _unfinished(rows) or (figure.lacks(rows), figure.cure)
    if experiments and (found := having_data(reading, figure)):
        cure += f", or draw {' or '.join(f'`--experiment {name}`' for name in found)}"
    return UserError(f"{about} in {where}: {why}", cure=cure)


def _unfinished(rows: Rows) -> tuple[str, str] | None:
    """That no trial has a result, with what to do about it; None where one has."""
    if rows.trials.is_empty():
        if rows.before:
            return f"none of {rows.before:,} trials matches", "loosen the filter"
        return "there are no trials", "run its spec"
    states = state_counts(rows.trials)
    if {"done", "stopped"} & set(states):
        return None
    counts = ", ".join(f"{count:,} {state}" for state, count in states.items())
    why = f"no trial has finished ({counts})"
    fallen = rows.trials.filter(pl.col("state").is_in(["failed", "diverged"]))
    if fallen.is_empty():
        return why, "run the experiment again: it goes on where it was"
    return why, f"see why with `scalelab show {fallen['digest'][0][:SHORT]}`"


def fingerprint(figure: Figure, rows: Rows) -> str:
    """A digest of all that is drawn, in whatever order it comes, and of the way it is drawn."""
    columns = sorted(rows.trials.columns)
    plain = sorted([*map(repr, row)] for row in rows.trials.select(columns).iter_rows())
    drawn = {
        "recipe": figure.recipe,
        "options": dict(figure.options),
        "columns": columns,
        "rows": plain,
        "specs": dict(rows.specs),
    }
    if figure.needs_fits:
        drawn["engine"] = ENGINE
    fits = [[fit.key, json.dumps(fit.result, sort_keys=True)] for fit in rows.fits]
    chosen = {} if rows.filter is None else {"filter": rows.filter, "before": rows.before}
    if rows.filter is not None:  # they decide the colours
        chosen["every"] = rows.unfiltered.trials["digest"].to_list()
    said = (
        {"notes": {digest: dict(texts) for digest, texts in rows.notes.items()}}
        if rows.notes
        else {}
    )
    return sha256({**drawn, **chosen, **said, "curves": _curves_digest(rows.curves), "fits": fits})


def _curves_digest(curves: pl.DataFrame) -> str:
    """Of a million points in well under a second: names once, steps and values as their bytes."""
    if curves.is_empty():
        return ""
    ordered = curves.sort("digest", "name", "step")
    lengths = ordered.group_by("digest", "name", maintain_order=True).len()
    whole = hashed(json.dumps(lengths.rows()).encode())
    for column in ("step", "value"):
        whole.update(ordered[column].to_numpy().tobytes())
    return whole.hexdigest()
