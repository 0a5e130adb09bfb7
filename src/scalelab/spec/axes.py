"""Axes: spec paths with several values.

A mapping is the product of its entries; `zip` lets entries go in step.
"""

import copy
import math
from collections.abc import Callable, Sequence
from itertools import product
from operator import add, mul
from typing import Any

from scalelab.core.errors import UserError
from scalelab.core.units import parse_count, parse_number
from scalelab.spec.budget import LENGTHS

Point = dict[str, Any]
"""Spec path -> value: one combination of the axes."""


MOST = 100_000
"""Combinations of axes, and values of one: more are a slip of the pen."""


class AxisError(UserError):
    """An axis whose values are wrong; `path` names it."""

    def __init__(self, path: str, what: str, *, cure: str = "") -> None:
        super().__init__(what, cure=cure)
        self.path = path


def values(axis: Any) -> list[Any]:
    """A list as it is, `{range: [from, to, step]}` with both ends, or `{logspace: [from, to, num]}`
    without repetitions.

    Raises UserError where there is no value, or where the form is unknown.
    """
    if isinstance(axis, list):
        found = list(axis)
    elif isinstance(axis, dict) and len(axis) == 1 and "range" in axis:
        found = _range(*_three(axis["range"], "range: [from, to, step]"))
    elif isinstance(axis, dict) and len(axis) == 1 and "logspace" in axis:
        found = _logspace(*_three(axis["logspace"], "logspace: [from, to, num]"))
    else:
        raise UserError(
            "an axis is a list, `{range: [from, to, step]}` or `{logspace: [from, to, num]}`"
        )
    if not found:
        raise UserError("the axis is empty", cure="give it at least one value")
    return found


def _three(given: Any, form: str) -> list[float]:
    if not isinstance(given, list) or len(given) != 3:
        raise UserError(f"{given!r} has not three numbers", cure=f"write {form}")
    return [parse_number(number) for number in given]


def _check_many(count: float) -> None:
    if not count <= MOST:
        shown = f" {count:,.0f}:" if count < 1e15 else ""
        raise UserError(
            f"it makes{shown} more than {MOST:,} values or combinations",
            cure="take fewer, or wider steps",
        )


def _plain(number: float) -> float | int:
    """Without rounding noise (0.1 + 2 * 0.1 would be another trial than 0.3), and whole where it is
    whole.
    """
    number = float(f"{number:.15g}")
    if not math.isfinite(number):
        raise UserError("its values grow too large", cure="take smaller ends")
    return int(number) if number == int(number) else number


def _range(first: float, last: float, step: float) -> list[Any]:
    if step <= 0:
        raise UserError(f"a range's step is positive, and this is {step:g}")
    count = (last - first) / step * (1 + 1e-12)
    _check_many(count)
    return [_plain(first + index * step) for index in range(max(0, math.floor(count) + 1))]


def _logspace(first: float, last: float, num: float) -> list[Any]:
    if first <= 0 or last <= 0:
        raise UserError("a logspace runs between positive numbers")
    steps = parse_count(num)
    _check_many(steps)
    if not 0 < last / first < math.inf:
        raise UserError(
            f"{first:g} and {last:g} are too far apart", cure="take ends with a ratio below 1e300"
        )
    found = [
        _plain(first * (last / first) ** (index / max(1, steps - 1))) for index in range(steps)
    ]
    if first == int(first) and last == int(last):  # whole ends make whole values
        found = [round(value) for value in found]
    return list(dict.fromkeys(found))


def points(node: dict[str, Any]) -> list[Point]:
    """Every combination of an `axes` mapping, in the order in which it is written.

    Raises UserError for more than MOST.
    """
    return [_merge(combination) for combination in product(*_parts(node))]


def num_points(node: dict[str, Any]) -> int:
    """How many combinations there are. Raises UserError as `points` does."""
    return math.prod(map(len, _parts(node)))


def first_point(node: dict[str, Any]) -> Point:
    """The first combination. Raises UserError as `points` does."""
    return _merge([part[0] for part in _parts(node)])


def _parts(
    node: dict[str, Any], combined: Callable[[int, int], int] = mul, number: int = 1
) -> list[list[Point]]:
    """What is combined: the values of each axis, or the points of a `zip` or `product`.

    Raises UserError as soon as their lengths, combined with `number`, are more than MOST.
    """
    found: list[list[Point]] = []
    for key, entry in node.items():
        if key in ("zip", "product"):
            parts = map(_zipped if key == "zip" else points, _groups(key, entry))
        else:
            try:
                parts = [[{key: value} for value in values(entry)]]
            except UserError as error:
                raise AxisError(key, error.what, cure=error.cure) from error
        for part in parts:
            found.append(part)
            number = combined(number, len(part))
            _check_many(number)
    return found


def paths(node: dict[str, Any]) -> list[str]:
    """The spec paths that a mapping of axes sets, in order.

    Raises AxisError for a `zip` or `product` that is no mapping of axes.
    """
    found: list[str] = []
    for key, entry in node.items():
        found += (
            [path for group in _groups(key, entry) for path in paths(group)]
            if key in ("zip", "product")
            else [key]
        )
    return found


def _groups(key: str, entry: Any) -> list[dict[str, Any]]:
    groups = entry if isinstance(entry, list) else [entry]
    if not all(isinstance(group, dict) and group for group in groups):
        raise AxisError(
            key,
            "it takes a mapping of axes, or a list of them",
            cure=f"write `{key}: {{model.width: [8, 16], model.heads: [1, 2]}}`",
        )
    return groups


def _zipped(node: dict[str, Any]) -> list[Point]:
    parts = _parts(node, add, 0)
    if len({len(part) for part in parts}) > 1:
        raise AxisError(
            "zip",
            "axes that go in step have equally many values, and these have"
            f" {[len(part) for part in parts]}",
        )
    return [_merge(row) for row in zip(*parts, strict=True)]


def _merge(parts: Sequence[Point]) -> Point:
    return {path: value for part in parts for path, value in part.items()}


def laid(base: dict[str, Any], point: Point) -> dict[str, Any]:
    """A copy of a trial's data with the values of a point in their places; a length of the budget
    replaces the one that stands there.

    Raises AxisError where a value lies inside what is no mapping.
    """
    data = copy.deepcopy(base)
    for path, value in point.items():
        *above, last = path.split(".")
        inner = data
        for depth, key in enumerate(above, 1):
            inner = inner.setdefault(key, {})
            if not isinstance(inner, dict):
                parent = ".".join(above[:depth])
                cure = f"write `{parent}` as a mapping, or leave it out"
                raise AxisError(
                    path,
                    f"sets a field of `{parent}`, which the spec gives as {inner!r}",
                    cure=cure,
                )
        if above == ["budget"] and last in LENGTHS:
            data["budget"] = inner = {
                key: kept for key, kept in inner.items() if key not in LENGTHS
            }
        inner[last] = copy.deepcopy(value)
    return data
