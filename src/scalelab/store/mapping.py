"""Which column of a published table is what: the YAML beside it, checked, with a parser for the
cells of each column.

experiment: published_grid
columns:
  task.people: n_people
  task.recall: {column: key, values: {qa: in_weight, qatool: in_tool}}
  params.total: nb_params
  metrics.recall: accuracy
  extra.dataset: corpus    # no part of a spec, and tells trials apart all the same
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model
from pydantic.fields import FieldInfo

from scalelab.core.errors import UserError, nearest
from scalelab.core.units import parse_count, parse_number
from scalelab.spec.explain import classes_in, fields_at, paths_below
from scalelab.spec.load import Document, parse

Parser = Callable[[str], Any]
"""The text of a cell -> its value. Raises ValueError that says what the text is not."""


def _whole(text: str) -> int:
    """Sizes that were read off a figure are not whole; the nearest whole number is meant."""
    return parse_count(text if text.isdecimal() else round(parse_number(text)))


def _flops(text: str) -> int:
    """More than a `Count` may be."""
    number = round(parse_number(text))
    if number < 1:
        raise ValueError(f"{text!r} is less than 1; write it like 1e18")
    return number


LENGTHS: dict[str, Parser] = {
    "steps": _whole,
    "tokens": _whole,
    "flops": _flops,
    "exposures": parse_number,
    "seconds": parse_number,
}
"""Columns beside spec paths, `params.*` and `metrics.*`."""

BUDGETS: dict[str, Parser] = {
    f"budget.{name}": LENGTHS[name] for name in ("steps", "tokens", "flops")
}
"""Budgets are read as lengths are: a published one may be a fraction, or more than a
spec's may be.
"""

_OPEN: dict[str, Parser] = {"params": _whole, "metrics": parse_number, "extra": str}


@dataclass(frozen=True)
class Column:
    """One entry of a mapping: the spec path (or `params.*`, ...), the table's column and how its
    cells are read.
    """

    key: str
    name: str
    parse: Parser
    place: str
    """Where the mapping says so, `file:line`."""

    @property
    def is_identity(self) -> bool:
        """Whether the value tells one trial from another; the rest is what came of it."""
        return not self.key.startswith("metrics.") and self.key != "seconds"


@dataclass(frozen=True)
class Mapping:
    """A checked mapping."""

    experiment: str
    columns: list[Column]


def read_mapping(path: Path) -> Mapping:
    """Read and check a mapping. Raises UserError with the line of the first fault."""
    document = parse(path)
    for key in document.data:
        if key not in ("experiment", "columns"):
            raise UserError(
                f"unknown key `{key}`",
                cure=nearest(key, ["experiment", "columns"]),
                where=document.place((key,)),
            )
    experiment, columns = document.data.get("experiment"), document.data.get("columns")
    if not isinstance(experiment, str) or not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9_.-]*", experiment
    ):
        cure = "write it as `experiment: published_grid`"
        raise UserError(
            "`experiment` is not the name of an experiment",
            cure=cure,
            where=document.place(("experiment",)),
        )
    if not isinstance(columns, dict) or not columns:
        cure = "write it as `columns: {task.people: n_people}`"
        raise UserError(
            "`columns` maps spec paths to columns of the table",
            cure=cure,
            where=document.place(("columns",)),
        )
    return Mapping(experiment, [_column(document, key, entry) for key, entry in columns.items()])


def _column(document: Document, key: str, entry: Any) -> Column:
    place = document.place(("columns", key))
    if (
        isinstance(entry, dict)
        and isinstance(entry.get("values"), dict)
        and entry.keys() <= {"column", "values"}
    ):
        name, translation = entry.get("column"), entry["values"]
    else:
        name, translation = entry, None
    if not isinstance(name, str | int | float) or isinstance(name, bool):
        cure = f"write `{key}: COLUMN`, or `{key}: {{column: COLUMN, values: {{theirs: ours}}}}`"
        raise UserError(f"`{key}` names no column", cure=cure, where=place)
    parser = _parser(key, place)
    if translation is not None:
        parser = _translator(
            {
                theirs: _translated(document, key, theirs, ours, parser)
                for theirs, ours in translation.items()
            }
        )
    return Column(key, str(name), parser, place)


PARAMS = (
    "total",
    "non_embedding",
    "active",
    "used",
    "embedding",
    "positions",
    "attention",
    "ffn",
    "norm",
    "head",
)
"""Numbers of parameters that a trial has, by convention and by group (see
`plan.counts.Parameters`).
"""


def _parser(key: str, place: str) -> Parser:
    above, _, below = key.partition(".")
    if key in LENGTHS | BUDGETS:
        return (LENGTHS | BUDGETS)[key]
    if above == "params" and below not in PARAMS:
        raise UserError(
            f"`{key}` is no way to count parameters",
            cure=nearest(key, [f"params.{name}" for name in PARAMS]),
            where=place,
        )
    if above in _OPEN and re.fullmatch(r"[A-Za-z0-9_]+", below):
        return _OPEN[above]
    fields = [field for _, field in fields_at(key)]
    if not fields:
        known = [
            *paths_below(),
            *LENGTHS,
            "params.total",
            "params.non_embedding",
            "params.active",
            "metrics.loss",
            "metrics.recall",
        ]
        close = nearest(key, known)
        cure = (
            close
            if close.startswith("did")
            else f"name a spec path, params.*, metrics.*, extra.*, or one of {', '.join(LENGTHS)}"
        )
        raise UserError(f"`{key}` is no path of a trial", cure=cure, where=place)
    if any(classes_in(field.annotation) for field in fields):
        raise UserError(
            f"`{key}` has fields of its own",
            cure=f"name one of them: `scalelab explain {key}`",
            where=place,
        )
    return _field_parser(fields)


def _field_parser(fields: list[FieldInfo]) -> Parser:
    """Reads what a spec file may say there; where kinds share a path, what any of them allows."""
    models = [create_model("Cell", value=(field.annotation or Any, field)) for field in fields]

    def read(text: str) -> Any:
        faults: list[str] = []
        for model in models:
            try:
                return model.model_validate({"value": text}).__dict__["value"]
            except ValidationError as error:
                faults.append(
                    error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")
                )
        raise ValueError(
            faults[0]
            if repr(text) in faults[0]
            else f"{text!r}: {faults[0][:1].lower()}{faults[0][1:]}"
        )

    return read


def _translated(document: Document, key: str, theirs: str, ours: Any, parser: Parser) -> Any:
    try:
        return parser(str(ours))
    except ValueError as error:
        raise UserError(
            f"`{key}`: {error}", where=document.place(("columns", key, "values", theirs))
        ) from error


def _translator(translation: dict[str, Any]) -> Parser:
    def read(text: str) -> Any:
        if text not in translation:
            raise ValueError(
                f"{text!r} is not among the mapping's values; known are"
                f" {', '.join(map(repr, translation))}"
            )
        return translation[text]

    return read
