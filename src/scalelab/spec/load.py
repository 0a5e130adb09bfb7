"""YAML to an experiment, with the file and line of whatever is wrong."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from scalelab.core.errors import UserError, nearest
from scalelab.core.locations import expanded
from scalelab.spec.axes import AxisError, paths, points
from scalelab.spec.budget import LENGTHS
from scalelab.spec.experiment import Experiment
from scalelab.spec.explain import fields_at, paths_below

Loc = tuple[str | int, ...]


class Document:
    """The data of a spec with the place (`file:line`, or `--set a.b=c`) that each value
    comes from.
    """

    def __init__(self, data: dict[str, Any], places: dict[Loc, str], path: str) -> None:
        self.data, self.places, self.path = data, places, path

    def place(self, loc: Sequence[str | int]) -> str:
        """Where a value was written; else what is inside it, last said; else what is nearest around
        it.
        """
        loc = tuple(loc)
        if loc and loc not in self.places:
            inside = [place for known, place in self.places.items() if known[: len(loc)] == loc]
            return inside[-1] if inside else self.place(loc[:-1])
        return self.places.get(loc, self.path)

    def update(self, other: "Document") -> None:
        """Lay another document over this one; mappings are merged, all else is replaced."""
        _merge(self.data, other.data)
        for loc, place in other.places.items():  # what is said last stands last
            self.places.pop(loc, None)
            self.places[loc] = place


def load(path: str | Path, settings: Sequence[str] = ()) -> tuple[Experiment, Document]:
    """Read, merge (`extends`, `--set a.b=c`) and check a spec. Raises UserError."""
    document = read(Path(path), ())
    for text in settings:
        document.update(setting(text))
    return check(document), document


def read(path: Path, seen: tuple[Path, ...]) -> Document:
    """A spec file with what it extends under it. Raises UserError."""
    resolved = path.resolve()
    if resolved in seen:
        raise UserError(
            "`extends` goes in a circle",
            cure=" -> ".join(part.name for part in (*seen, resolved)),
            where=str(path),
        )
    document = parse(path)
    base_name = document.data.pop("extends", None)
    if base_name is None:
        return document
    if not isinstance(base_name, str):
        raise UserError("`extends` takes the path of one spec", where=document.place(("extends",)))
    base_path = path.parent / expanded(base_name, document.place(("extends",)))
    if not base_path.exists():
        raise UserError(
            f"`extends` names {base_name}, which does not exist",
            cure="give a path relative to this file",
            where=document.place(("extends",)),
        )
    base = read(base_path, (*seen, resolved))
    base.update(document)
    return Document(base.data, base.places, str(path))


def parse(path: Path) -> Document:
    """One YAML mapping and the line of each of its values. Raises UserError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot be read: {error.strerror}",
            cure="name an existing spec, such as one in specs/",
            where=str(path),
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            "is not text, so it is no YAML", cure="name a spec file", where=str(path)
        ) from error
    try:
        node = yaml.compose(text, Loader=_Loader)
        if node is None:
            raise UserError("is empty", cure="write at least `name` and `budget`", where=str(path))
        if not isinstance(node, yaml.MappingNode):
            raise UserError(
                "is not a mapping of keys to values",
                cure="write it as `name: ...` on lines of its own",
                where=f"{path}:1",
            )
        places: dict[Loc, str] = {}
        data = _build(node, (), str(path), places)
    except RecursionError as error:
        raise UserError(
            "goes in a circle: an alias (`*name`) stands inside what it names",
            cure="write it out",
            where=str(path),
        ) from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(
            f"is not YAML: {error.problem}", cure="mend the syntax there", where=f"{path}:{line}"
        ) from error
    except yaml.YAMLError as error:
        raise UserError("is not YAML", cure="mend the syntax", where=str(path)) from error
    return Document(data, places, str(path))


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
    try:
        return Experiment.model_validate(_with_length(document.data))
    except ValidationError as error:
        raise explained(error, document, Experiment) from error


def _with_length(data: dict[str, Any]) -> dict[str, Any]:
    """The data with a length in its budget, where only the axes give one: the experiment then has
    the first.
    """
    arms, written_down = [*data.get("arms", {}).values(), {}], data.get("budget", {})
    axes = arms[0] | points(data.get("axes", {}))[0]
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
    ):
        return data
    return {**data, "budget": {**budget, **lengths}} if lengths or "budget" in axes else data


def _check_axes(document: Document) -> None:
    axes = document.data.get("axes", {})
    try:
        if not isinstance(axes, dict):
            raise ValueError(
                "`axes` maps spec paths to values; write `model.width: [8, 16]` below it"
            )
        for path in paths(axes):
            _check_path("axis", path, document.place(axis_loc(document, path)))
            _check_setting(path, document)
        points(axes)
    except AxisError as error:
        what, _, cure = str(error).partition("; ")
        raise UserError(
            f"the axis `{error.path}`: {what}",
            cure=cure,
            where=document.place(axis_loc(document, error.path)),
        ) from error
    except UserError:
        raise
    except ValueError as error:
        what, _, cure = str(error).partition("; ")
        raise UserError(what, cure=cure, where=document.place(("axes",))) from error


def _check_setting(axis: str, document: Document) -> None:
    """An axis would overwrite what `--set` says, and nobody would notice."""
    for loc, place in document.places.items():
        path = ".".join(map(str, loc))
        if (
            place.startswith("--set ")
            and loc[0] not in ("axes", "arms")
            and (path == axis or path.startswith(f"{axis}."))
        ):
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
            _check_path(f"arm `{name}` sets", path, where)
            if path in axes:
                raise UserError(
                    f"`{path}` is set by the arm `{name}` and by an axis",
                    cure="keep one of them",
                    where=where,
                )


def _check_path(who: str, path: str, where: str) -> None:
    if not fields_at(path):
        raise UserError(
            f"the {who} `{path}`, which is no path of a trial",
            cure=nearest(path, paths_below()),
            where=where,
        )


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
    named = _named(what, document)
    return UserError(
        what, cure=cure, where=document.place(named if named[: len(loc)] == loc else loc)
    )


def _named(sentence: str, document: Document) -> Loc:
    """The first path that a sentence names and the document has; a fault of a whole trial has no
    place of its own.
    """
    paths = (tuple(path.split(".")) for path in re.findall(r"`([a-z_.]+)`", sentence))
    return next(
        (path for path in paths if any(known[: len(path)] == path for known in document.places)), ()
    )


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
    message = re.sub(r"^(Value error|Assertion failed), ", "", fault["msg"])
    message = message[:1].lower() + message[1:]
    what, _, cure = message.partition("; ")
    if fault["type"] == "value_error":
        return (f"`{path}`: {what}" if path else what), cure
    return f"`{path}` is {_short(fault['input'])}: {what}", cure or f"run `scalelab explain {path}`"


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
    try:
        data = _build(yaml.compose(value or "''", Loader=_Loader), (), place, {})
    except yaml.YAMLError as error:
        raise UserError(
            "has a value that is not YAML", cure="write it as --set model.width=32", where=place
        ) from error
    steps = path.strip().split(".")
    if steps[0] == "axes":  # the keys of `axes` are paths themselves
        steps = ["axes", ".".join(steps[1:])] if len(steps) > 1 else steps
    if steps[0] == "arms":  # and so are those of an arm
        steps = [*steps[:2], *([".".join(steps[2:])] if len(steps) > 2 else [])]
    for step in reversed(steps):
        data = {step: data}
    # Every place below a setting is the setting itself.
    return Document(data, {tuple(steps): place}, place)


def _merge(below: dict[str, Any], above: dict[str, Any]) -> None:
    for key, value in above.items():
        kept = below.get(key)
        if (
            isinstance(value, dict)
            and isinstance(kept, dict)
            and value.get("kind", kept.get("kind")) == kept.get("kind")
        ):
            if (
                LENGTHS & value.keys()
            ):  # a budget said anew replaces the one below, and leaves `params`
                for length in LENGTHS:
                    kept.pop(length, None)
            _merge(kept, value)
        else:
            below[key] = value


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads `1e6` and `1e-3` as numbers (YAML 1.1 takes them for text)."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\d[\d_]*)(?:\.\d*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _build(node: yaml.Node | None, loc: Loc, path: str, places: dict[Loc, str]) -> Any:
    """Data of a YAML node; the line of each value goes into `places`.

    A key given twice is an error.
    """
    if node is None:
        return None
    places.setdefault(loc, f"{path}:{node.start_mark.line + 1}")
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in found:
                raise UserError(
                    f"the key `{key}` stands there twice",
                    cure="keep one of them",
                    where=f"{path}:{line}",
                )
            places[(*loc, key)] = f"{path}:{line}"
            found[key] = _build(value_node, (*loc, key), path, places)
        return found
    if isinstance(node, yaml.SequenceNode):
        return [
            _build(child, (*loc, index), path, places) for index, child in enumerate(node.value)
        ]
    try:
        return _Loader("").construct_object(node)  # pyright: ignore[reportUnknownMemberType]
    except ValueError:  # it looks like a date, and is none: 2024-13-45
        return str(node.value)
