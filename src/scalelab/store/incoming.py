"""Another store's rows, checked before they are merged: a file from elsewhere may hold anything."""

import json
import re
from collections.abc import Callable
from math import isfinite
from typing import Any, NewType, get_args

from sqlalchemy import BigInteger, Column, Connection, Float, Integer, Table, select, type_coerce
from sqlalchemy.engine.default import DefaultDialect
from sqlalchemy.exc import DBAPIError
from sqlalchemy.types import NullType

from scalelab.core.errors import UserError
from scalelab.core.events import State
from scalelab.store.database import table_of
from scalelab.store.fits import SINCE, unpacked
from scalelab.store.reader import Reader
from scalelab.store.records import AttemptState, Origin
from scalelab.store.tables import (
    Artifacts,
    Attempts,
    Environments,
    Experiments,
    Fits,
    Json,
    Memberships,
    Metrics,
    Trials,
    Values,
)

ROWS = 20_000
"""Rows that are read at a time."""

_TABLES = tuple(
    table_of(model)
    for model in (Experiments, Trials, Memberships, Environments, Attempts, Metrics, Artifacts)
)
_fits = table_of(Fits)
_NAMED = {str(key.column) for table in _TABLES for key in table.foreign_keys}
"""Columns that rows of other tables name."""

Wrong = Callable[[Any], str]
"""What is wrong with a value as it stands in a database; empty where nothing is."""


Checked = NewType("Checked", Reader)
"""A store whose rows can be merged."""


def checked(store: Reader) -> Checked:
    """The same store. Raises UserError for the first value that scalelab does not write."""
    named: dict[str, set[Any]] = {}
    try:
        with store.database.reading() as connection:
            has_fits = store.database.kind.version(connection) >= SINCE
            for table in (*_TABLES, *((_fits,) if has_fits else ())):
                _check_table(connection, table, named)
    except (ValueError, DBAPIError) as error:
        raise refused(store, error) from error
    return Checked(store)


def refused(store: Reader, error: Exception) -> UserError:
    """The error of a store that cannot be merged as it is."""
    if isinstance(error, UserError):
        return error
    known = isinstance(error, DBAPIError)  # a missing column, bytes that are no UTF-8, equal keys
    what = f"is not as a store is: {error.orig}" if known else str(error)
    cure = "export it anew, or bring back a copy of it"
    return UserError(what, cure=cure, where=store.database.kind.name)


def _check_table(connection: Connection, table: Table, named: dict[str, set[Any]]) -> None:
    """Raises ValueError; what other tables name in this one is added to `named`."""
    stored = [type_coerce(column, NullType()).label(column.name) for column in table.c]
    checks = [(column, _check_of(column, named)) for column in table.c]
    rows = connection.execute(select(*stored), execution_options={"yield_per": ROWS})
    for part in rows.partitions():
        for (column, check_value), values in zip(checks, zip(*part, strict=True), strict=True):
            for value in dict.fromkeys(values):  # a curve has a few names, thousands of times
                if wrong := check_value(value):
                    row = part[values.index(value)]._mapping
                    keys = ", ".join(f"{key.name} {row[key.name]}" for key in table.primary_key)
                    raise ValueError(f"`{column}` {wrong} ({keys})")
            if str(column) in _NAMED:
                named.setdefault(str(column), set()).update(values)


def _check_of(column: Column[Any], named: dict[str, set[Any]]) -> Wrong:
    others = [named.setdefault(str(key.column), set()) for key in column.foreign_keys]
    check_type = _CHECKS.get(str(column)) or _check_of_type(column)

    def check_value(value: Any) -> str:
        if value is None:
            return "" if column.nullable else "has no value"
        if wrong := check_type(value):
            return f"is {str(value)[:80]!r}, which is {wrong}"
        return "" if all(value in other for other in others) else f"names no row by {value!r}"

    return check_value


def _check_of_type(column: Column[Any]) -> Wrong:
    if isinstance(column.type, Json):
        return _Object(column.type)
    if isinstance(column.type, Float):
        return lambda value: "" if _is_number(value) and isfinite(value) else "no finite number"
    if isinstance(column.type, Integer):
        bits = 63 if isinstance(column.type, BigInteger) else 31
        return lambda value: "" if type(value) is int and value >> bits in (0, -1) else "no integer"
    return lambda value: "" if isinstance(value, str) else "no text"


class _Object:
    """Whether a text can be read as an object, and be written again."""

    def __init__(self, type_: Json, *, of_numbers: bool = False) -> None:
        self._type, self._of_numbers, self._dialect = type_, of_numbers, DefaultDialect()

    def __call__(self, text: Any) -> str:
        if not isinstance(text, str):
            return "no text"
        try:
            value = self._type.process_result_value(text, self._dialect)
            self._type.process_bind_param(value, self._dialect)
            json.dumps(value, ensure_ascii=False).encode()
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError):
            return "no object in JSON"
        except RecursionError:
            return "nested too deeply"
        if not isinstance(value, dict):
            return "no object in JSON"
        if self._of_numbers and not all(_is_number(number) for number in value.values()):
            return "no object of numbers"
        return ""


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _one_of(words: tuple[str, ...], what: str) -> Wrong:
    return lambda value: "" if value in words else f"no {what}"


def _matching(pattern: str, what: str) -> Wrong:
    compiled = re.compile(pattern)
    return lambda value: (
        "" if isinstance(value, str) and compiled.fullmatch(value) else f"no {what}"
    )


def _check_draws(value: Any) -> str:
    try:
        draws = unpacked(value)
    except Exception:  # NumPy and zipfile have no end of errors for what is damaged
        return "no archive of draws"
    is_list = all(values.ndim == 1 and values.dtype.kind == "f" for values in draws.values())
    return "" if is_list else "no archive of draws"


_name = r"[A-Za-z0-9][A-Za-z0-9_.-]*"  # an export makes it the name of a file
_attempt_states = tuple(word for part in get_args(AttemptState) for word in get_args(part))

_CHECKS: dict[str, Wrong] = {
    "experiments.name": _matching(_name, "name of an experiment"),
    "fits.key": _matching(_name, "key of a fit"),
    "fits.draws": _check_draws,
    "trials.digest": _matching("[0-9a-f]{64}", "digest"),
    "trials.state": _one_of(get_args(State), "state"),
    "trials.origin": _one_of(get_args(Origin), "origin"),
    "trials.params": _Object(Json(), of_numbers=True),
    "trials.metrics": _Object(Values(), of_numbers=True),
    "attempts.state": _one_of(_attempt_states, "state of an attempt"),
    "metrics.value": lambda value: "" if _is_number(value) else "no number",
}
"""Columns of which more is known than their type."""
