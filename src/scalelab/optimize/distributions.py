"""Searched paths as Optuna's parameters, and points read off trials that were run for other
reasons.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from typing import Annotated, Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import BaseTrial
from pydantic import BaseModel, TypeAdapter, ValidationError

from scalelab.core.canon import canonical_json
from scalelab.spec.axes import Point
from scalelab.spec.conditions import Search, applies, in_order
from scalelab.spec.explain import fields_at
from scalelab.spec.space import Choice, Distribution, Float, Int, same


def parameter(given: Distribution) -> BaseDistribution:
    """The distribution as Optuna has it; of a choice the names of the values are chosen."""
    match given:
        case Float():
            return FloatDistribution(*given.ends, log=given.log)
        case Int():
            return IntDistribution(
                given.values[0], given.values[-1], log=given.log, step=given.step
            )
        case Choice():
            return CategoricalDistribution(_names(given))
        case _:
            raise AssertionError(given)


def suggest(trial: BaseTrial, search: Search, order: Sequence[str]) -> Point:
    """A point, path by path in this order: those whose condition does not hold are not
    asked for.
    """
    point: Point = {}
    for path in order:
        given = search[path]
        if not applies(given, point):
            continue
        match given:
            case Float():
                point[path] = trial.suggest_float(path, *given.ends, log=given.log)
            case Int():
                point[path] = trial.suggest_int(
                    path, given.values[0], given.values[-1], log=given.log, step=given.step
                )
            case Choice():
                names = _names(given)
                point[path] = given.choice[names.index(trial.suggest_categorical(path, names))]
            case _:
                raise AssertionError(given)
    return point


def parameters_of(point: Point, search: Search) -> dict[str, Any]:
    """What Optuna calls the values of a point."""
    return {path: _name(search[path], value) for path, value in point.items()}


def _names(given: Choice) -> list[Any]:
    """Words and numbers as they are; everything else as JSON, and so are all where `true` stands
    beside 1.
    """
    plain = [
        value
        for value in given.choice
        if isinstance(value, str | int | float) and not isinstance(value, bool)
    ]
    return (
        list(given.choice)
        if len(plain) == len(given.choice)
        else [canonical_json(value) for value in given.choice]
    )


def _name(given: Distribution, value: Any) -> Any:
    return _names(given)[given.choice.index(value)] if isinstance(given, Choice) else value


def point_at(axes: Mapping[str, Any], search: Search) -> Point | None:
    """The point of a space that a member's axes tell; None where the space is another by now."""
    return _point(search, lambda path: axes.get(path))


def point_of(trial: Mapping[str, Any], search: Search) -> Point | None:
    """The point of a space that a resolved trial is at, read off its fields; None where it is at
    none.

    A trial of another base is at a point too: whether the point gives the trial is for the caller
    to see.
    """
    model, resolved = trial["model"], trial
    if ffn := model.get("ffn"):  # resolved, it has its width alone, not the ratio that gave it
        ratio = ffn["width"] / model["width"]
        resolved = {**trial, "model": {**model, "ffn": {**ffn, "ratio": ratio}}}
    return _point(search, lambda path: _field(resolved, path))


def _point(search: Search, read: Callable[[str], Any]) -> Point | None:
    point: Point = {}
    for path in in_order(search):
        if applies(search[path], point):
            value = read(path)
            found = (
                _chosen(path, search[path], value)
                if isinstance(search[path], Choice)
                else _number(search[path], value)
            )
            if found is None:
                return None
            [point[path]] = found
    return point


def _field(trial: Mapping[str, Any], path: str) -> Any:
    found: Any = trial
    for step in path.split("."):
        if not isinstance(found, Mapping) or step not in found:
            return None
        found = found[step]
    return found


def _number(given: Distribution, value: Any) -> list[Any] | None:
    """The value, if it lies in the range."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if isinstance(given, Int):
        return [int(value)] if value in given.values else None
    assert isinstance(given, Float)
    return [float(value)] if given.ends[0] <= value <= given.ends[1] else None


def _chosen(path: str, given: Distribution, value: Any) -> list[Any] | None:
    """The choice that a resolved field came from: of several that fit the one that says most."""
    assert isinstance(given, Choice)
    equal = [choice for choice in given.choice if same(choice, value)]
    if equal:
        return equal
    fitting = [
        (len(canonical_json(form)), choice)
        for choice in given.choice
        for form in _forms(path, choice)
        if _within(form, value)
    ]
    return [max(fitting, key=lambda pair: pair[0])[1]] if fitting else None


def _forms(path: str, choice: Any) -> list[Any]:
    """What a choice looks like in a resolved trial, in the kinds that have such a field: `10k` is
    10,000, `bytes` is `{kind: bytes}`.
    """
    found: list[Any] = []
    for kind in _kinds(path):
        with suppress(ValidationError):
            read = kind.validate_python(choice)
            found.append(
                read.model_dump(mode="json", exclude_unset=True)
                if isinstance(read, BaseModel)
                else _plain(read)
            )
    return found


@cache
def _kinds(path: str) -> list[TypeAdapter[Any]]:
    """How a field is read, in each kind that has it."""
    found: list[TypeAdapter[Any]] = []
    for _, field in fields_at(path):
        kind: Any = field.annotation
        for part in field.metadata:
            kind = Annotated[kind, part]
        found.append(TypeAdapter(kind))
    return found


def _plain(value: Any) -> Any:
    return [_plain(one) for one in value] if isinstance(value, tuple | list) else value


def _within(form: Any, value: Any) -> bool:
    """Whether everything that a form says is so in the value."""
    if isinstance(form, Mapping):
        return isinstance(value, Mapping) and all(
            key in value and _within(inner, value[key]) for key, inner in form.items()
        )
    if isinstance(form, list):
        return (
            isinstance(value, list | tuple)
            and len(form) == len(value)
            and all(map(_within, form, value))
        )
    return form == value and isinstance(form, bool) == isinstance(value, bool)
