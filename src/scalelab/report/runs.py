"""What stands behind a figure: every run, and the environments that they ran in."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from scalelab.core.canon import canonical_json
from scalelab.core.errors import UserError, nearest
from scalelab.core.metrics import is_detail, metrics_in
from scalelab.report.figure import Rows, Table
from scalelab.report.recall import SERIES
from scalelab.spec.axes import paths

_PREFIXES = ("task.", "model.", "budget.", "optim.", "evaluation.")
_FIELDS = ("batch", "micro_batch", "precision")
SHOWN = 3000
"""Runs that a page lists: more would make it too large to open."""


def axis_columns(trials: pl.DataFrame) -> list[str]:
    """Spec paths among the columns, in the frame's order."""
    return [
        column for column in trials.columns if column.startswith(_PREFIXES) or column in _FIELDS
    ]


def varying(trials: pl.DataFrame, but: Sequence[str]) -> list[str]:
    """Spec paths with several values among these rows, some of them left out."""
    return [
        column
        for column in axis_columns(trials)
        if column not in but and trials[column].drop_nulls().n_unique() > 1
    ]


def free(trials: pl.DataFrame, given: Sequence[str]) -> list[str]:
    """Spec paths that vary among rows which agree in the given columns: what does not follow from
    these.
    """
    paths, given = varying(trials, given), [column for column in given if column in trials.columns]
    most = (
        trials.group_by(given)
        .agg(pl.col(path).drop_nulls().n_unique() for path in paths)
        .select(pl.col(path).max() for path in paths)
    )
    return [path for path in paths if most[path].item() > 1]


def told_apart(trials: pl.DataFrame, specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The fewest columns that tell trials apart but for their seeds: the arm and the experiments'
    axes first, then what else varies.
    """
    written = (path for spec in specs.values() for path in paths(spec.get("axes") or {}))
    declared: list[str] = [path for path in written if path in trials.columns and path != "seed"]
    declared = ["arm", *declared] if "arm" in trials.columns else declared
    kept: list[str] = []
    groups = 1
    several = ["experiment"] if "experiment" in trials.columns else []
    for path in dict.fromkeys(several + declared + varying(trials, [])):
        found = trials.select(*kept, path).n_unique()
        if found > groups:
            kept, groups = [*kept, path], found
    return kept


def absent(trials: pl.DataFrame, needed: Sequence[str]) -> str:
    """`no finished trial has `a` or `b``: those of the columns in which no trial that is done or
    stopped has a value; empty where there are none.
    """
    done = (
        trials.filter(pl.col("state").is_in(["done", "stopped"]))
        if "state" in trials.columns
        else trials.clear()
    )
    values = {name: done[name].drop_nulls() for name in needed if name in done.columns}
    none = [
        name
        for name in needed
        if name not in values
        or (values[name].drop_nans() if values[name].dtype.is_float() else values[name]).is_empty()
    ]
    *first, last = [f"`{name}`" for name in none] or [""]
    listed = f"{', '.join(first)} or {last}" if first else last
    return f"no finished trial has {listed}" if none else ""


def check_metric(trials: pl.DataFrame, metric: str) -> None:
    """Raises UserError where these trials have metrics, and none of this name."""
    known = metrics_in(trials.columns)
    if known and metric not in known:
        raise UserError(
            f"no trial has a metric `{metric}`",
            cure=nearest(metric, [name for name in known if not is_detail(name)]),
        )


def arm_names(trials: pl.DataFrame, specs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The arms among these rows, in the order of the specs."""
    known = (
        trials["arm"].drop_nulls().unique(maintain_order=True).to_list()
        if "arm" in trials.columns
        else []
    )
    declared = list(
        dict.fromkeys(name for spec in specs.values() for name in spec.get("arms") or ())
    )
    return [
        *(name for name in declared if name in known),
        *(name for name in known if name not in declared),
    ]


def word_order(rows: Rows, path: str) -> dict[str, int]:
    """Value of a column of words -> its place: as the specs list the arms, as the page lists the
    recall modes, else as the trials were planned.
    """
    arms = [name for spec in rows.specs.values() for name in spec.get("arms") or ()]
    known = {"arm": arms, "task.recall": list(SERIES)}.get(path, [])
    for trials in (rows.unfiltered.trials, rows.trials):
        known = [*known, *trials[path].drop_nulls().unique(maintain_order=True)]
    return {word: at for at, word in enumerate(dict.fromkeys(known))}


def names_of(paths: Sequence[str]) -> dict[str, str]:
    """Spec path -> its last word, or the whole path where another one ends in the same word."""
    last = Counter(path.rsplit(".", 1)[-1] for path in paths)
    return {path: word if last[word := path.rsplit(".", 1)[-1]] == 1 else path for path in paths}


def state_counts(trials: pl.DataFrame) -> dict[str, int]:
    """Number of trials in each state, each trial once."""
    counted = Counter(trials.unique("digest")["state"].to_list())
    return dict(sorted(counted.items()))


def runs_table(rows: Rows, metric: str) -> Table:
    """Every run: digest, state, experiment where there are several, what varies, seed, size,
    metric, commit; and what does not vary.
    """
    trials = rows.trials.filter(~pl.col("state").is_in(["missing", "queued"]))
    some = (
        ["experiment"]
        if "experiment" in trials.columns and trials["experiment"].n_unique() > 1
        else []
    )
    axes = varying(trials, [])
    wanted = [
        "digest",
        "state",
        *some,
        *axes,
        "seed",
        "params.total",
        metric,
        "step",
        "seconds",
        "commit",
    ]
    columns = list(dict.fromkeys(column for column in wanted if column in trials.columns))
    shown = (
        trials.sort([*axes, "seed", "digest", *some], nulls_last=True).select(columns).head(SHOWN)
    )
    numeric = frozenset(
        index for index, column in enumerate(columns) if shown[column].dtype.is_numeric()
    )
    same = [
        f"{column} {cell(known[0])}"
        for column in axis_columns(trials)
        if (known := trials[column].drop_nulls()).n_unique() == 1
    ]
    note = f"The same in every run: {', '.join(same)}." if same else ""
    if trials.height > SHOWN:
        cut = f"The first {SHOWN:,} of {trials.height:,} runs; `scalelab ls` lists all."
        note = f"{cut} {note}".strip()
    title = "Every run" if trials.height <= SHOWN else "Runs"
    return Table(
        title, columns, [[cell(value) for value in row] for row in shown.iter_rows()], numeric, note
    )


def environments_table(rows: Rows) -> Table:
    """The environments of these runs, one a row."""
    columns = ("commit", "changed since", "packages", "python", "platform", "cpus", "command")
    found = [rows.environments[digest] for digest in sorted(rows.environments)]
    return Table("Environments", columns, [_environment(data) for data in found])


def _environment(data: Any) -> list[str]:
    packages = ", ".join(
        f"{name} {version}" for name, version in (data.get("packages") or {}).items()
    )
    dirty = str(data.get("dirty") or "no")
    plain = [str(data.get(name) or "") for name in ("python", "platform", "cpus")]
    return [
        str(data.get("commit") or ""),
        dirty,
        packages,
        *plain,
        " ".join(map(str, data.get("argv") or ())),
    ]


def cell(value: Any) -> str:
    """A value of a trial as text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return str(value) if not isinstance(value, list | dict) else canonical_json(value)
