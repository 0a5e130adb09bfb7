"""A published table and its mapping -> trials with results."""

import math
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping as Values
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from scalelab.core.canon import canonical_json, sha256
from scalelab.core.errors import UserError, nearest
from scalelab.core.events import State
from scalelab.core.metrics import is_lower_better, is_metric, metric_of
from scalelab.store.cells import DecimalMark, decimal_mark, grouped_elsewhere, typed
from scalelab.store.column import LENGTHS, OUTCOMES, STATES, Column
from scalelab.store.mapping import Mapping, read_mapping
from scalelab.store.plausible import warnings_of
from scalelab.store.records import Result, TrialRecord
from scalelab.store.sheet import Sheet, read_sheet

Keep = Callable[[Values[str, Any]], bool]
"""Whether a row, by the keys of the mapping, `extra.*` and `state`, is imported."""


@dataclass(frozen=True)
class Published:
    """A published table as trials of an experiment."""

    experiment: str
    source: dict[str, Any]
    """The names and the content of the files."""
    trials: list[TrialRecord] = field(default_factory=list)
    results: list[Result] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter[str])
    """Why rows are not among the trials -> how many."""
    warnings: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """What a reader must know before believing the numbers, each with a `code` and a `text`."""


@dataclass(frozen=True)
class _Parsed:
    """A row, by the keys of the mapping."""

    number: int
    line: int
    values: dict[str, Any]
    """A cell with a fault is null."""
    extra: dict[str, Any]
    faults: list[tuple[Column, UserError]]

    @property
    def metrics(self) -> dict[str, float]:
        """Those that the row has a number for."""
        found = ((key, value) for key, value in self.values.items() if is_metric(key))
        return {
            metric_of(key): value
            for key, value in found
            if value is not None and math.isfinite(value)
        }

    @property
    def has_diverged(self) -> bool:
        """Whether a loss is NaN or infinite, and no other loss is a number."""
        losses = [
            value
            for key, value in self.values.items()
            if is_metric(key) and is_lower_better(metric_of(key)) and value is not None
        ]
        return bool(losses) and not any(map(math.isfinite, losses))


def read_published(
    table: Path, mapping: Path, *, repeats: bool = False, keep: Keep | None = None
) -> Published:
    """Read a table (CSV, JSON Lines, Parquet) through a mapping.

    Rows that `keep` does not accept, rows whose run has not ended, and rows without a value of any
    metric are left out and counted; a run whose loss is not finite is `diverged`. Raises UserError
    with file, row and column of the first fault in what is left.

    A trial's digest covers the experiment, every mapped column but `metrics.*`, `seconds` and
    `state`, and the seed (0 where there is none), so that the same table gives the same trials
    again. A missing value is null. Rows that are equal in all of it are
    an error, or, with `repeats`, replicates of one configuration.
    """
    checked = read_mapping(mapping)
    sheet = read_sheet(table, {column.name for column in checked.columns})
    source = {
        "table": table.name,
        "table_sha256": sheet.sha256,
        "mapping": mapping.read_text(encoding="utf-8"),
    }
    published, kept = Published(checked.experiment, source), list[_Parsed]()
    replicates, seen = Counter[str](), dict[str, int]()
    for row in _rows(sheet, checked):
        state = _state(row, checked, keep)
        if state not in OUTCOMES:
            published.left_out[state] += 1
            continue
        for column, fault in row.faults:
            about = f"row {row.number}, column `{column.name}`: "
            raise fault.at(f"{table}:{row.line}", about=about)
        record = _record(checked, row, replicates)
        if record.digest in seen and repeats:
            record = replace(record, digest=sha256(record.identity | {"row": row.number}))
        elif record.digest in seen:
            what = f"row {row.number} is the same trial as row {seen[record.digest]}"
            cure = (
                "map a column that tells them apart: `seed`, or any other, as `extra.dataset:"
                " dataset`"
            )
            raise UserError(what, cure=cure, where=f"{table}:{row.line}")
        seen[record.digest] = row.number
        kept.append(row)
        published.trials.append(record)
        published.results.append(
            Result(cast(State, state), row.metrics, row.values.get("seconds"), record.steps or None)
        )
    if not kept:
        what = ", ".join(f"{count} {reason}" for reason, count in published.left_out.items())
        cure = "name another table, or other columns of it"
        raise UserError(f"no row is left: {what}", cure=cure, where=str(table))
    values = [(row.number, row.values) for row in kept]
    published.warnings.extend(warnings_of(checked.columns, values))
    return published


def _state(row: _Parsed, mapping: Mapping, keep: Keep | None) -> str:
    """The state of a row's trial, or why the row is left out."""
    state = _ended(row, mapping)
    if keep is not None:
        extra = {f"extra.{name}": value for name, value in row.extra.items()}
        known = state if state in STATES.values() else None
        if not keep(row.values | extra | {"state": known}):
            return "by the filter"
    return state


def _ended(row: _Parsed, mapping: Mapping) -> str:
    """How a row's run ended, by its state and its results, or why it is no result."""
    state = row.values.get("state")
    if state not in (None, "done"):
        return state
    names = [column.key for column in mapping.columns if is_metric(column.key)]
    if row.has_diverged:
        return "diverged"
    has_result = (
        row.metrics or not names or any(column.key in (*names, "state") for column, _ in row.faults)
    )
    return "done" if has_result else "without " + " or ".join(f"`{name}`" for name in names)


def _indices(sheet: Sheet, mapping: Mapping) -> dict[str, int]:
    """Key of the mapping -> index of its column. Raises UserError for a column that is missing,
    there twice, or blank in every row.
    """
    found: dict[str, int] = {}
    for column in mapping.columns:
        count = sheet.header.count(column.name)
        if not count:
            raise UserError(
                f"the table {sheet.path} has no column `{column.name}`",
                cure=_nearest_column(sheet, column.name),
                where=column.place,
            )
        if count > 1:
            raise UserError(
                f"has {count} columns named `{column.name}`",
                cure="give each a name of its own",
                where=f"{sheet.path}:{sheet.header_line}",
            )
        index = found[column.key] = sheet.header.index(column.name)
        if not any(cells[index] for _, cells in sheet.rows):
            raise UserError(
                f"the column `{column.name}` is blank in every row",
                cure=f"leave `{column.key}` out of the mapping, or name another column",
                where=column.place,
            )
    return found


def _nearest_column(sheet: Sheet, name: str) -> str:
    """The cure for a column that is not there; some tables have a title above their header."""
    for line, cells in sheet.rows[:10]:
        if name in cells:
            return f"it is on line {line}: delete the lines above, so that the header comes first"
    return nearest(name, [column for column in dict.fromkeys(sheet.header) if column])


def _mark(sheet: Sheet, mapping: Mapping, indices: dict[str, int]) -> DecimalMark:
    if mapping.mark is not None:
        return mapping.mark
    numeric = [column for column in mapping.columns if column.is_number]
    cells = (
        (f"row {row}, column `{column.name}`", cells[indices[column.key]])
        for column in numeric
        for row, (_, cells) in enumerate(sheet.rows, 1)
    )
    try:
        mark = decimal_mark(cells, sheet.delimiter)
    except UserError as error:
        raise error.at(str(sheet.path)) from error
    for column in numeric:
        # A count that is not scaled has no fraction: it is in thousands, or is refused.
        if column.is_whole and column.scale is None:
            continue
        texts = [cells[indices[column.key]] for _, cells in sheet.rows]
        cell = grouped_elsewhere(texts, mark)
        if cell is not None:
            raise UserError(
                f"{cell!r} (row {texts.index(cell) + 1}, column `{column.name}`) may be thousands"
                " or a fraction, and only other columns show the decimal mark",
                cure='say which it is at the top of the mapping: `decimal: "."` or `decimal: ","`',
                where=str(sheet.path),
            )
    return mark


def _rows(sheet: Sheet, mapping: Mapping) -> list[_Parsed]:
    indices = _indices(sheet, mapping)
    mark = _mark(sheet, mapping, indices)
    extras = _extras(sheet, set(indices.values()), mark)
    rows: list[_Parsed] = []
    for at, (line, cells) in enumerate(sheet.rows):
        row = _Parsed(at + 1, line, {}, {name: column[at] for name, column in extras.items()}, [])
        for column in mapping.columns:
            try:
                row.values[column.key] = column.read(cells[indices[column.key]], mark)
            except UserError as error:
                row.values[column.key] = None
                row.faults.append((column, error))
        rows.append(row)
    # Mapped `extra.*` columns have no form that a spec gives them: they are typed as a whole.
    for column in mapping.columns:
        if column.key.startswith("extra.") and not column.is_number:
            texts = [row.values[column.key] or "" for row in rows]
            for row, value in zip(rows, typed(texts, mark), strict=True):
                row.values[column.key] = value
    return rows


def _extras(sheet: Sheet, mapped: set[int], mark: DecimalMark) -> dict[str, list[Any]]:
    """The columns that the mapping does not name, by names that are not there twice."""
    kept: dict[str, list[Any]] = {}
    for index, name in enumerate(sheet.header):
        cells = [cells[index] for _, cells in sheet.rows]
        if index in mapped or (not name and not any(cells)):
            continue
        known = {*kept, *sheet.header} if name in kept else set(kept)
        unique, number = name or "unnamed", 1
        while unique in known:
            number += 1
            unique = f"{name or 'unnamed'}.{number}"
        kept[unique] = typed(cells, mark)
    return kept


def _record(mapping: Mapping, row: _Parsed, replicates: Counter[str]) -> TrialRecord:
    identity = {
        column.key: row.values[column.key] for column in mapping.columns if column.is_identity
    }
    seed = identity.pop("seed", None) or 0
    place = canonical_json(identity)
    replicates[place] += 1
    known = {key: value for key, value in identity.items() if value is not None}
    axes = {
        key: value
        for key, value in identity.items()
        if key not in LENGTHS and not key.startswith("params.")
    }
    whole = {"imported": mapping.experiment, "columns": identity, "seed": seed}
    length = {
        name: known.get(name, known.get(f"budget.{name}", 0))
        for name in ("steps", "tokens", "exposures", "flops")
    }
    return TrialRecord(
        digest=sha256(whole),
        identity=whole,
        trial=_nested(axes | {"seed": seed}),
        axes=axes,
        replicate=replicates[place] - 1,
        seed=seed,
        params={
            key.removeprefix("params."): value
            for key, value in known.items()
            if key.startswith("params.")
        },
        **length,
        origin="imported",
        extra=row.extra,
    )


def _nested(flat: dict[str, Any]) -> dict[str, Any]:
    """Spec path -> value, as the tree that the paths describe."""
    tree: dict[str, Any] = {}
    for path, value in flat.items():
        *above, last = path.split(".")
        node = tree
        for step in above:
            node = node.setdefault(step, {})
        node[last] = value
    return tree
