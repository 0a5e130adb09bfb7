"""Conditions of searched paths: in which order paths get their values, which apply at a point, and
every point of a finite space.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from random import Random
from typing import Any

from scalelab.core.canon import canonical_json
from scalelab.spec.axes import AxisError, Point
from scalelab.spec.space import Choice, Distribution, Float, Int, same

Search = Mapping[str, Distribution]
"""Spec path -> distribution."""


def in_order(search: Search) -> list[str]:
    """Every path behind those that its condition names and the whole parts that it lies in; else as
    written.

    Raises AxisError where conditions go in a circle.
    """
    found: dict[str, None] = {}

    def visit(path: str, above: tuple[str, ...]) -> None:
        if path in above:
            circle = " -> ".join((*above[above.index(path) :], path))
            raise AxisError(
                path, f"its conditions go in a circle ({circle})", cure="leave one of them out"
            )
        if path in found:
            return
        for other in search:
            if other in search[path].when or path.startswith(f"{other}."):
                visit(other, (*above, path))
        found[path] = None

    for path in search:
        visit(path, ())
    return list(found)


def applies(given: Distribution, point: Point) -> bool:
    """Whether a path is searched, where the paths before it have these values."""
    return all(
        path in point and any(same(point[path], value) for value in values)
        for path, values in given.when.items()
    )


def demands(path: str, search: Search) -> dict[str, list[Any]]:
    """The values that other paths must have for this one to be searched, conditions of conditions
    counted in.

    Raises AxisError where no value is left.
    """
    found: dict[str, list[Any]] = {}
    for name, allowed in _clauses(path, search, set()):
        found[name] = [
            value for value in found.get(name, allowed) if any(same(value, one) for one in allowed)
        ]
    for name, left in found.items():
        if not left:
            raise AxisError(
                path,
                f"it is searched at no value of `{name}`: its conditions contradict each other",
                cure="mend its `when`",
            )
    return found


def _clauses(path: str, search: Search, seen: set[str]) -> Iterator[tuple[str, tuple[Any, ...]]]:
    """The conditions of a path and of all paths that these are on; those of each path once."""
    for other, values in search[path].when.items():
        yield other, values
        if other not in seen:
            seen.add(other)
            yield from _clauses(other, search, seen)


def settled(search: Search, choose: Callable[[str, Distribution], Any]) -> Point:
    """A point: every path that applies gets the value that `choose` gives it, in order."""
    point: Point = {}
    for path in in_order(search):
        if applies(search[path], point):
            point[path] = copy.deepcopy(choose(path, search[path]))
    return point


def drawn(search: Search, chance: Random) -> Point:
    """A point by chance."""

    def choose(path: str, given: Distribution) -> Any:
        values = every_value(given)
        if values is not None:
            return chance.choice(values)
        assert isinstance(given, Float)
        low, high = given.ends
        return min(
            high,
            max(
                low,
                (
                    low * (high / low) ** chance.random()
                    if given.log
                    else low + (high - low) * chance.random()
                ),
            ),
        )

    return settled(search, choose)


def every_value(given: Distribution) -> Sequence[Any] | None:
    """The values of a distribution; None where they can't be counted."""
    match given:
        case Choice():
            return given.choice
        case Int():
            return given.values  # there may be billions: a range is not written out
        case _:
            return None


def every_point(search: Search, most: int) -> list[Point] | None:
    """Every point of a space; None where it has more than `most`, or a path with
    uncounted values.
    """
    found: list[Point] = [{}]
    for path in in_order(search):
        given = search[path]
        values = every_value(given)
        if values is None:
            return None
        grown = (
            longer
            for point in found
            for longer in (
                ({**point, path: value} for value in values) if applies(given, point) else [point]
            )
        )
        found = list(islice(grown, most + 1))
        if len(found) > most:
            return None
    return copy.deepcopy(found)


def check_conditions(search: Search) -> None:
    """Raises AxisError for a condition that names no searched path, a value that this path can't
    take, or that contradicts another.
    """
    for path, given in search.items():
        for other, values in given.when.items():
            if other == path:
                raise AxisError(path, "its condition is on itself", cure="leave it out")
            if other not in search:
                cure = f"search `{other}` too, or leave the condition out"
                raise AxisError(
                    path, f"its condition is on `{other}`, which is not searched", cure=cure
                )
            _check_values(path, other, search[other], values)
    in_order(search)
    for path in search:
        demands(path, search)
        _check_parts(path, search)


def _check_values(path: str, other: str, given: Distribution, values: tuple[Any, ...]) -> None:
    if isinstance(given, Float):
        raise AxisError(
            path,
            f"its condition is on `{other}`, a `float`, which hits no value twice",
            cure="make that a choice",
        )
    if not values:
        raise AxisError(
            path, f"its condition on `{other}` has no value", cure="give it one, or leave it out"
        )
    known = every_value(given) or ()
    for value in values:
        if not given.has(value):
            shown = ", ".join(map(canonical_json, known[:8])) + (", ..." if len(known) > 8 else "")
            raise AxisError(
                path,
                f"its condition is on `{other}` being {canonical_json(value)}, which it can't be",
                cure=f"it can be {shown}",
            )


def _check_parts(path: str, search: Search) -> None:
    """A path inside a searched part must not be set by a choice of this part too."""
    for other, given in search.items():
        if isinstance(given, Choice) and path.startswith(f"{other}."):
            at = demands(path, search).get(other, list(given.choice))
            steps = path.removeprefix(f"{other}.").split(".")
            if any(
                _sets(choice, steps)
                for choice in given.choice
                if any(same(choice, one) for one in at)
            ):
                raise AxisError(
                    path,
                    f"it is searched, and a choice of `{other}` sets it too",
                    cure="keep one of them, or add a `when`",
                )


def _sets(value: Any, steps: list[str]) -> bool:
    for step in steps:
        if not isinstance(value, Mapping) or step not in value:
            return False
        value = value[step]
    return True
