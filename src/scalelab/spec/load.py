"""YAML to an experiment, with the file and line of whatever is wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scalelab.core.errors import UserError, nearest
from scalelab.core.locations import expanded
from scalelab.core.spec import fault_of
from scalelab.spec.axes import AxisError, first_point, num_points, paths
from scalelab.spec.budget import LENGTHS
from scalelab.spec.document import Document, Loc, dump, exists, parse, parse_value
from scalelab.spec.experiment import Experiment
from scalelab.spec.explain import fields_at, paths_below
from scalelab.spec.references import Resolve, resolved

MOST_TRIALS = 100_000
"""Trials of an experiment: arms times points of the axes times replicates."""

MOST_FILES = 50
"""Files that extend one another."""


def load(
    path: str | Path, settings: Sequence[str] = (), *, resolve: Resolve | None = None
) -> tuple[Experiment, Document]:
    """Read, merge (`extends`, `--set a.b=c`) and check a spec. Raises UserError.

    `resolve` finds the stored trials that the spec names by the first digits of their digests.
    """
    document = read(Path(path), ())
    for text in settings:
        document.update(setting(text))
    experiment = check(document)
    if resolve is None or (full := resolved(document, resolve)) is document:
        return experiment, document
    return check(full), full


def read(path: Path, seen: tuple[Path, ...]) -> Document:
    """A spec file with what it extends under it. Raises UserError."""
    document = parse(path)
    resolved = path.resolve()
    if resolved in seen:
        raise UserError(
            "`extends` goes in a circle",
            cure=" -> ".join(part.name for part in (*seen, resolved)),
            where=str(path),
        )
    if "extends" not in document.data:
        return document
    where, base_name = document.place(("extends",)), document.data.pop("extends")
    if len(seen) >= MOST_FILES:
        raise UserError(
            f"more than {MOST_FILES} specs extend one another", cure="join some", where=where
        )
    if not isinstance(base_name, str):
        raise UserError(
            "`extends` takes the path of one spec",
            cure="write it as text, in quotes where it is a number",
            where=where,
        )
    base_path = path.parent / expanded(base_name, where)
    if not exists(base_path):
        raise UserError(
            f"`extends` names {base_name}, which does not exist",
            cure="give a path relative to this file",
            where=where,
        )
    base = read(base_path, (*seen, resolved))
    base.update(document)
    return Document(base.data, base.places, str(path))


def check(document: Document) -> Experiment:
    """The experiment that a document describes.

    Raises UserError with the place of the first fault.
    """
    if {"base", "objectives"} <= document.data.keys():
        raise UserError(
            "this is a space to search, no experiment",
            cure="run `scalelab optimize --space` with it",
            where=document.path,
        )
    _check_axes(document)
    _check_arms(document)
    complete = _with_length(document)
    try:
        experiment = Experiment.model_validate(complete.data)
    except ValidationError as error:
        raise explained(error, complete, Experiment) from error
    _check_number(experiment, document)
    return experiment


def _with_length(document: Document) -> Document:
    """The document with a length in its budget, where only the axes give one: the experiment then
    has the first.
    """
    data = document.data
    arms, written_down = [*data.get("arms", {}).values(), {}], data.get("budget", {})
    axes = arms[0] | first_point(data.get("axes", {}))
    budget = axes.get("budget", written_down)
    lengths = {
        path.removeprefix("budget."): value
        for path, value in axes.items()
        if path.removeprefix("budget.") in LENGTHS
    }
    if (
        not isinstance(budget, dict)
        or not isinstance(written_down, dict)
        or LENGTHS & written_down.keys()
        or not (lengths or "budget" in axes)
    ):
        return document
    axis = "budget" if "budget" in axes else f"budget.{next(iter(lengths))}"
    place = document.place(axis_loc(document, axis, next(iter(data.get("arms", {})), "")))
    return Document(
        {**data, "budget": {**budget, **lengths}},
        {**document.places, ("budget",): document.places.get(("budget",), place)},
        document.path,
    )


def _check_axes(document: Document) -> None:
    axes = document.data.get("axes", {})
    try:
        if not isinstance(axes, dict):
            raise UserError(
                "`axes` maps spec paths to values", cure="write `model.width: [8, 16]` below it"
            )
        settings = {
            ".".join(map(str, loc)): place
            for loc, place in document.places.items()
            if place.startswith("--set ") and loc[0] not in ("axes", "arms")
        }
        for path in paths(axes):
            if not fields_at(path):
                raise _unknown("axis", path, document.place(axis_loc(document, path)))
            _check_settings(path, settings)
        num_points(axes)
    except AxisError as error:
        place = document.place(axis_loc(document, error.path))
        raise error.at(place, about=f"the axis `{error.path}`: ") from error
    except UserError as error:
        raise error.at(document.place(("axes",))) from error


def _check_settings(axis: str, settings: dict[str, str]) -> None:
    """An axis would overwrite what `--set` says, and nobody would notice."""
    for path, place in settings.items():
        if path == axis or path.startswith(f"{axis}."):
            cure = f"write --set 'axes.{axis}=[...]'"
            raise UserError(
                f"the axis `{axis}` sets `{path}` again for every trial", cure=cure, where=place
            )


def _check_arms(document: Document) -> None:
    arms, axes = document.data.get("arms", {}), paths(document.data.get("axes", {}))
    if not isinstance(arms, dict) or not all(
        isinstance(settings, dict) for settings in arms.values()
    ):
        cure = "write `base: {}` and `wide: {model.width: 64}` below it"
        raise UserError(
            "`arms` maps names to what each sets", cure=cure, where=document.place(("arms",))
        )
    for name, settings in arms.items():
        for path in settings:
            where = document.place(("arms", name, path))
            if not fields_at(path):
                raise _unknown(f"arm `{name}` sets", path, where)
            if path in axes:
                raise UserError(
                    f"`{path}` is set by the arm `{name}` and by an axis",
                    cure="keep one of them",
                    where=where,
                )


def _unknown(who: str, path: str, where: str) -> UserError:
    what = f"the {who} `{path}`, which is no path of a trial"
    return UserError(what, cure=nearest(path, paths_below()), where=where)


def _check_number(experiment: Experiment, document: Document) -> None:
    """Raises UserError for more trials than a plan lays out."""
    arms, each = max(1, len(experiment.arms)), num_points(experiment.axes)
    number = arms * each * experiment.replicates
    if number > MOST_TRIALS:
        parts = {"replicates": experiment.replicates, "axes": each, "arms": arms}
        largest = max(parts, key=lambda name: parts[name])
        what = (
            f"{arms:,} arms x {each:,} points of the axes x {experiment.replicates:,} replicates"
            f" are {number:,} trials"
        )
        cure = f"a spec plans at most {MOST_TRIALS:,}; lower `{largest}`"
        raise UserError(what, cure=cure, where=document.place((largest,)))


def axis_loc(document: Document, path: str, arm: str = "") -> Loc:
    """Where in the document an axis, or what this arm sets, is written."""
    if ("arms", arm, path) in document.places:
        return "arms", arm, path
    return next(
        (loc for loc in document.places if loc and loc[0] == "axes" and loc[-1] == path), ("axes",)
    )


def explained(error: ValidationError, document: Document, root: type[BaseModel]) -> UserError:
    """The first fault of a validation as one sentence with its place."""
    first = error.errors(include_url=False)[0]
    loc = written(first["loc"], document.data, missing=first["type"] == "missing")
    what, cure = _sentence(first, loc, root)
    paths = (".".join(map(str, loc)), *fault_of(first).paths)
    # A fault of a whole trial has no place of its own, but that of the first path that is written.
    steps = (tuple(path.split(".")) for path in paths)
    about = next(
        (path for path in steps if any(known[: len(path)] == path for known in document.places)), ()
    )
    where = document.place(about if about[: len(loc)] == loc else loc)
    return UserError(what, cure=cure, where=where, paths=paths)


def _sentence(fault: ErrorDetails, loc: Loc, root: type[BaseModel]) -> tuple[str, str]:
    path = ".".join(map(str, loc))
    if fault["type"] == "extra_forbidden":
        known = _siblings(loc, root)
        if loc[-1] in known:
            return (
                f"`{path}` is a key of another `kind`",
                (
                    "say which `kind` with it, or leave it out: `scalelab explain"
                    f" {'.'.join(map(str, loc[:-1]))}`"
                ),
            )
        return f"unknown key `{path}`", nearest(str(loc[-1]), known)
    if fault["type"] == "missing":
        return f"`{path}` is missing", f"run `scalelab explain {path}`"
    if fault["type"] == "union_tag_invalid":
        expected = str(fault.get("ctx", {}).get("expected_tags", ""))
        return f"`{path}` has no known `kind`", f"known are {expected}"
    said = fault_of(fault)
    if fault["type"] == "value_error":
        return (f"`{path}`: {said.what}" if path else said.what), said.cure
    if fault["type"] == "string_type" and isinstance(fault["input"], bool | int | float):
        kind = "a truth value" if isinstance(fault["input"], bool) else "a number"
        text = dump(fault["input"]).split()[0]
        return f"`{path}` is {kind}, {text}, and takes text", f'put it in quotes: "{text}"'
    cure = said.cure or f"run `scalelab explain {path}`"
    return f"`{path}` is {_short(fault['input'])}: {said.what}", cure


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _siblings(loc: Loc, root: type[BaseModel]) -> list[str]:
    above = [str(part) for part in loc[:-1]]
    if not above:
        return list(root.model_fields)
    return sorted(
        {
            path[len(above)]
            for path in (text.split(".") for text in paths_below(root))
            if path[: len(above)] == above and len(path) > len(above)
        }
    )


def written(loc: tuple[int | str, ...], data: Any, *, missing: bool) -> Loc:
    """A pydantic location without the names of union members that stand in it: the file has no such
    keys. What is missing stands last.
    """
    found: list[str | int] = []
    for index, part in enumerate(loc):
        if isinstance(data, dict) and (part in data or (missing and index == len(loc) - 1)):
            found.append(part)
            data = data.get(part)
        elif isinstance(data, list | tuple) and isinstance(part, int) and part < len(data):
            found.append(part)
            data = data[part]
    return tuple(found)


def setting(text: str) -> Document:
    """`a.b=c` as a document to lay over another. Raises UserError."""
    path, sign, value = text.partition("=")
    place = f"--set {text}"
    if not sign or not path.strip():
        raise UserError("is no setting", cure="write it as --set model.width=32", where=place)
    data = parse_value(value or "''", place)
    steps = path.strip().split(".")
    if steps[0] == "axes":  # the keys of `axes` are paths themselves
        steps = ["axes", ".".join(steps[1:])] if len(steps) > 1 else steps
    if steps[0] == "arms":  # and so are those of an arm
        steps = [*steps[:2], *([".".join(steps[2:])] if len(steps) > 2 else [])]
    for step in reversed(steps):
        data = {step: data}
    # Every place below a setting is the setting itself.
    return Document(data, {tuple(steps): place}, place)
