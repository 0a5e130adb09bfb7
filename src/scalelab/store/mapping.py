"""Which column of a published table is what: the YAML beside it, checked.

experiment: published_grid
columns:
  task.people: n_people
  task.recall: {column: key, values: {qa: in_weight, qatool: in_tool}}
  params.total: {column: "N (M)", scale: 1e6}
  metrics.recall: accuracy
  state: Status            # rows that failed or diverged, in the words of the tool that wrote them
  extra.dataset: corpus    # no part of a spec, and tells trials apart all the same
"""

import json
import re
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any

from pydantic import ValidationError, create_model
from pydantic.fields import FieldInfo

from scalelab.core.errors import UserError, nearest
from scalelab.core.metrics import column_of
from scalelab.core.spec import fault_of
from scalelab.core.spelling import misspelt
from scalelab.core.units import parse_number, parse_seconds
from scalelab.spec.explain import classes_in, fields_at, paths_below
from scalelab.spec.load import Document, parse
from scalelab.spec.reported import NAMES
from scalelab.store.cells import DecimalMark
from scalelab.store.column import LENGTHS, STATES, WHOLE, Column, Parser

OPTIONS = ("column", "values", "scale", "round", "own")
"""What an entry of `columns` may have."""


@dataclass(frozen=True)
class Mapping:
    """A checked mapping."""

    experiment: str
    columns: list[Column]
    mark: DecimalMark | None = None
    """The decimal mark of the table, where the mapping says it."""


def read_mapping(path: Path) -> Mapping:
    """Read and check a mapping. Raises UserError with the line of the first fault."""
    document = parse(path)
    for key in document.data:
        if key not in ("experiment", "columns", "decimal"):
            raise UserError(
                f"unknown key `{key}`",
                cure=nearest(key, ["experiment", "columns", "decimal"]),
                where=document.place((key,)),
            )
    experiment, columns = document.data.get("experiment"), document.data.get("columns")
    if not isinstance(experiment, str) or not re.fullmatch(
        r"[A-Za-z0-9][A-Za-z0-9_.-]*", experiment
    ):
        cure = "write it as `experiment: published_grid`"
        if isinstance(experiment, int | float) and not isinstance(experiment, bool):
            cure = f'put it in quotes: `experiment: "{experiment}"`'
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
    mark = document.data.get("decimal")
    if mark not in (None, ".", ","):
        raise UserError(
            "`decimal` is not a decimal mark",
            cure='write `decimal: "."` or `decimal: ","`',
            where=document.place(("decimal",)),
        )
    found = [_column(document, str(key), entry) for key, entry in columns.items()]
    _check_unique(found)
    return Mapping(experiment, found, mark)


def _check_unique(columns: list[Column]) -> None:
    keys: dict[str, str] = {}
    for column in columns:
        if column.name in keys:
            raise UserError(
                f"`{column.key}` and `{keys[column.name]}` are the same column `{column.name}`",
                cure="keep one of them",
                where=column.place,
            )
        keys[column.name] = column.key


def _column(document: Document, key: str, entry: Any) -> Column:
    place = document.place(("columns", key))
    options: dict[str, Any] = entry if isinstance(entry, dict) else {"column": entry}
    for option in options:
        if option not in OPTIONS:
            cure = nearest(str(option), list(OPTIONS))
            raise UserError(f"`{key}` has no option `{option}`", cure=cure, where=place)
    name, translation = options.get("column"), options.get("values")
    if not isinstance(name, str | int | float) or isinstance(name, bool) or name == "":
        cure = f"write `{key}: COLUMN`, or `{key}: {{column: COLUMN, values: {{theirs: ours}}}}`"
        raise UserError(f"`{key}` names no column", cure=cure, where=place)
    if "values" in options and (not isinstance(translation, dict) or not translation):
        cure = f"write `{key}: {{column: {name}, values: {{theirs: ours}}}}`"
        raise UserError(f"the `values` of `{key}` are no translation", cure=cure, where=place)
    _check_metric(key, name, options.get("own", False), place)
    parser, wanted = _parser(key, place), options.get("scale")
    is_number = _reads_numbers(parser)
    if wanted is not None and key.startswith("extra."):
        parser, is_number = parse_number, True
    if wanted is not None and not is_number:
        raise UserError(f"`{key}` is no number to scale", cure="leave out `scale`", where=place)
    scale = _scale(key, wanted, document.place(("columns", key, "scale")))
    rounded = options.get("round", False)
    if not isinstance(rounded, bool):
        what = f"the `round` of `{key}` is neither true nor false"
        raise UserError(what, cure="write `round: true`", where=place)
    column = Column(
        key,
        " ".join(str(name).split()),
        parser,
        place,
        is_number,
        scale=scale,
        round=rounded,
    )
    if translation is None:
        return column
    values = {
        str(theirs): _translated(document, replace(column, scale=None), theirs, ours)
        for theirs, ours in translation.items()
    }
    return replace(column, values=values)


def _check_metric(key: str, column: str | int | float, own: Any, place: str) -> None:
    """A misspelt metric would be a metric of its own, without a range, which no figure looks for.

    Raises UserError, but where the mapping says that the name is meant.
    """
    above, _, metric = key.partition(".")
    if not isinstance(own, bool) or (own and above != "metrics"):
        raise UserError(
            f"the `own` of `{key}` marks no metric",
            cure="write `own: true` at a metric of your own, or leave it out",
            where=place,
        )
    near = misspelt(metric, NAMES) if above == "metrics" and not own else None
    if near is not None:
        raise UserError(
            f"`{key}` is no known metric",
            cure=(
                f"did you mean `{column_of(near)}`? A metric of your own is written"
                f" `{key}: {{column: {json.dumps(str(column))}, own: true}}`"
            ),
            where=place,
        )


def _scale(key: str, value: Any, place: str) -> Decimal | None:
    if value is None:
        return None
    try:
        scale = parse_number(value)
    except UserError as error:
        raise error.at(place, about=f"the `scale` of `{key}`: ") from error
    if scale <= 0:
        raise UserError(
            f"the `scale` of `{key}` is not positive", cure="write it like 1e6", where=place
        )
    return Decimal(repr(scale))


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
`families.cost.Parameters`).
"""


def _parser(key: str, place: str) -> Parser:
    above, _, below = key.partition(".")
    if key == "state":
        return _state
    if key == "seconds":
        return parse_duration
    if key == "exposures":
        return _not_negative
    if key in WHOLE:
        return parse_number
    if above == "params" and below not in PARAMS:
        raise UserError(
            f"`{key}` is no way to count parameters",
            cure=nearest(key, [f"params.{name}" for name in PARAMS]),
            where=place,
        )
    if above in ("params", "metrics", "extra") and re.fullmatch(r"[A-Za-z0-9_]+", below):
        return str if above == "extra" else parse_number
    fields = [field for _, field in fields_at(key)]
    if not fields:
        known = [
            *paths_below(),
            *LENGTHS,
            "state",
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
    return _field_parser(key, fields)


def _field_parser(key: str, fields: list[FieldInfo]) -> Parser:
    """Reads what a spec file may say there; where kinds share a path, what any of them allows."""
    models = [create_model("Cell", value=(field.annotation or Any, field)) for field in fields]

    def read(text: str) -> Any:
        faults: list[UserError] = []
        for model in models:
            try:
                return model.model_validate({"value": text}).__dict__["value"]
            except ValidationError as error:
                faults.append(fault_of(error.errors(include_url=False)[0]))
        about = "" if repr(text) in faults[0].what else f"{text!r}: "
        raise faults[0].at("", about=about, cure=f"see `scalelab explain {key}`")

    return read


def _reads_numbers(parser: Parser) -> bool:
    """Whether a number is among what the parser reads, and comes out as one."""
    for text in ("1", "0", "0.5", "16"):
        try:
            value = parser(text)
        except UserError:
            continue
        return isinstance(value, int | float) and not isinstance(value, bool)
    return False


def _not_negative(text: str) -> float:
    value = parse_number(text)
    if value < 0:
        raise UserError(f"{text!r} is less than 0", cure="write it like 0.5 or 100")
    return value


def parse_duration(text: str) -> float:
    """`90`, `5.3min`, `320ms`, and pandas' `0 days 00:01:00.000123` -> seconds."""
    match = re.fullmatch(r"(\d+) days?,? (\d+):(\d\d):(\d\d(?:\.\d+)?)", text)
    if match is not None:
        days, hours, minutes, seconds = map(float, match.groups())
        return 86400 * days + 3600 * hours + 60 * minutes + seconds
    if text.endswith("ms"):
        return _not_negative(text.removesuffix("ms")) / 1000
    return 0.0 if text in ("0", "0.0") else parse_seconds(text)


def _state(text: str) -> str:
    if text.lower() not in STATES:
        raise UserError(
            f"{text!r} is not a known state",
            cure=(
                f"translate it, as `values: {{{text}: done}}` (there are"
                f" {', '.join(dict.fromkeys(STATES.values()))})"
            ),
        )
    return STATES[text.lower()]


def _translated(document: Document, column: Column, theirs: str, ours: Any) -> Any:
    try:
        return column.read(str(ours), ".")
    except UserError as error:
        where = document.place(("columns", column.key, "values", theirs))
        raise error.at(where, about=f"`{column.key}`: ") from error
