"""Warnings about the numbers of a table: what is possible, and hardly meant."""

from collections.abc import Iterator, Mapping, Sequence
from math import inf, isfinite
from typing import Any

from scalelab.core import metrics
from scalelab.store.column import UNITS, Column

Row = tuple[int, Mapping[str, Any]]
"""The number of a row, and its values by the keys of the mapping."""

USUAL: dict[str, tuple[float, float, str]] = {
    "params": (1000, 1e14, "for a number of parameters"),
    "tokens": (1000, 1e16, "for a number of tokens"),
    "budget.tokens": (1000, 1e16, "for a number of tokens"),
    "flops": (1e6, 1e30, "for a number of FLOPs"),
    "budget.flops": (1e6, 1e30, "for a number of FLOPs"),
    "steps": (1, 1e10, "for a number of steps"),
    "optim.lr": (1e-9, 10, "for a learning rate"),
}
"""Key of the mapping -> least and largest value that is usual, and what they are usual for."""

SIZES = ("params.total", "params.non_embedding", "params.active", "params.used")
"""Groups of parameters, such as `params.norm`, may be small."""

APART = 100
"""6 N D is this many times more or less than the FLOPs of no real run."""


def warnings_of(columns: Sequence[Column], rows: Sequence[Row]) -> list[dict[str, str]]:
    """Each with a `code` and a `text`."""
    return [
        *({"code": "implausible", "text": text} for text in _unusual(columns, rows)),
        *({"code": "implausible", "text": text} for text in _flops(rows)),
        *({"code": "missing_values", "text": text} for text in _blank(columns, rows)),
    ]


def _unusual(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[str]:
    for column in columns:
        if warning := _header_unit(column, rows):
            yield warning
            continue
        low, high, what = _usual(column.key)
        found = [(row, values[column.key]) for row, values in rows if what]
        found = [
            (row, value)
            for row, value in found
            if value and isfinite(value) and not low <= value <= high
        ]
        if found:
            row, value = found[0]
            yield (
                f"`{column.key}` is {value:,} in row {row}{_others(found)}, which is unusual"
                f" {what}: check the unit of the column `{column.name}`, and give a `scale` where"
                " it has another."
            )


def _header_unit(column: Column, rows: Sequence[Row]) -> str | None:
    """Whether a header such as `N (M)` names a unit that the numbers seem to be in, and that nobody
    applied. A number that is larger than its unit has been written out, or has the unit itself.
    """
    power = column.header_power if column.is_whole and column.scale is None else None
    if power is None:
        return None
    most = 10 ** max(power, 6)
    found = [(row, value) for row, values in rows if 0 < (value := values[column.key] or 0) < most]
    if not found:
        return None
    row, value = found[0]
    return (
        f"`{column.key}` is {value:,} in row {row}{_others(found)}, and the header of its column"
        f" `{column.name}` says {UNITS[power]}: {column.scale_cure()}."
    )


def _others(found: Sequence[Any]) -> str:
    return f" (and {len(found) - 1} more)" if len(found) > 1 else ""


def _usual(key: str) -> tuple[float, float, str]:
    """Least and largest value, and what they are usual for; nothing where that is not known."""
    if metrics.is_metric(key):
        known = metrics.find(metrics.metric_of(key))
        if known is not None and known.usual < inf:
            return known.low, known.usual, f"in {known.unit}"
        return 0, inf, ""
    return USUAL.get("params" if key in SIZES else key, (0, inf, ""))


def _flops(rows: Sequence[Row]) -> Iterator[str]:
    """Whether parameters, tokens and FLOPs have units that fit together."""
    found: list[int] = []
    for row, values in rows:
        params = values.get("params.active") or values.get("params.total")
        tokens = values.get("tokens") or values.get("budget.tokens")
        flops = values.get("flops") or values.get("budget.flops")
        if not (params and tokens and flops):
            continue
        if not 1 / APART <= flops / (6.0 * params * tokens) <= APART:
            found.append(row)
    if found:
        yield (
            f"the FLOPs are not near 6 x parameters x tokens in row {found[0]}{_others(found)}:"
            " check the units of these columns."
        )


def _blank(columns: Sequence[Column], rows: Sequence[Row]) -> Iterator[str]:
    for column in columns:
        count = sum(values[column.key] is None for _, values in rows) if column.is_identity else 0
        if count and not column.key.startswith("extra."):
            meaning = "counts as seed 0" if column.key == "seed" else "comes in as null"
            yield (
                f"`{column.key}` (column `{column.name}`) has no value in {count} of"
                f" {len(rows)} rows, and {meaning} there."
            )
