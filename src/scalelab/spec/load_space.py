"""YAML to a space, with the file and line of whatever is wrong."""

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from scalelab.core.errors import UserError, nearest
from scalelab.core.locations import expanded
from scalelab.spec.axes import AxisError, Point, laid
from scalelab.spec.conditions import check_conditions, demands, settled
from scalelab.spec.document import Document, Loc, exists
from scalelab.spec.experiment import Experiment
from scalelab.spec.explain import fields_at, paths_below
from scalelab.spec.load import explained, read, setting
from scalelab.spec.objectives import check_objectives, check_sampler
from scalelab.spec.space import Choice, Distribution, Float, Int, Space

TRIES = 30
"""Points that are tried before a value is called impossible: one that goes with few values of the
other paths.
"""

KINDS = frozenset(kind.keys[0] for kind in (Float, Int, Choice))
"""The keys that tell distributions apart."""

_FORMS = {
    "name": "name: my_space",
    "base": "base: {task: ..., model: ..., budget: ...}",
    "search": "search: {optim.lr: {float: [1e-3, 1e-1], log: true}}",
    "objectives": "objectives: {validation_loss: minimize}",
}
"""What a space can't do without."""

_NOT_IN_A_BASE = ("axes", "arms", "replicates", "search")


def load_space(path: str | Path, settings: Sequence[str] = ()) -> tuple[Space, Document]:
    """Read, merge (`extends`, `base`, `--set a.b=c`) and check a space.

    The document has the base written out. Raises UserError.
    """
    document = read(Path(path), ())
    if "budget" in document.data and "base" not in document.data:
        cure = "run `scalelab run` with it, or name it as the `base` of a space"
        raise UserError("this is an experiment, no space to search", cure=cure, where=document.path)
    _write_base_out(document, Path(path).parent)
    for text in settings:
        _lay(document, text)
        _write_base_out(document, Path())
    space = _checked(document)
    for loc, place in document.places.items():
        path = ".".join(map(str, loc[1:]))
        if loc[:1] == ("base",) and place.startswith("--set ") and path in space.search:
            what = f"`{path}` is searched: a value of the base is never used"
            cure = f"write --set 'search.{path}={{choice: [...]}}'"
            raise UserError(what, cure=cure, where=place)
    return space, document


def experiment_of(space: Space, document: Document) -> tuple[Experiment, Document]:
    """The base as an experiment, at a point of the space, and its document, in which searched paths
    stand as axes do.
    """
    base = {**space.base, "name": space.name, "about": space.about}
    places: dict[Loc, str] = {}
    for loc, place in document.places.items():
        if loc[:1] == ("base",):
            places[loc[1:]] = place
        elif loc[:1] == ("search",) and len(loc) > 1:
            places[("axes", *loc[1:])] = place
    places[()] = document.place(("base",))
    inner = Document(base, places, document.path)
    return _valid(space, inner, {}), inner


def _write_base_out(document: Document, folder: Path) -> None:
    """The base as a mapping: a spec that it names is read, and what it extends is laid under it."""
    base, where = document.data.get("base"), document.place(("base",))
    name = (
        base if isinstance(base, str) else base.get("extends") if isinstance(base, dict) else None
    )
    if name is not None:
        below = read(_existing(folder, name, where), ())
        for outside in ("name", "about"):
            below.data.pop(outside, None)
        if isinstance(base, dict):
            own = {
                loc[1:]: place
                for loc, place in document.places.items()
                if loc[:1] == ("base",) and loc != ("base",)
            }
            below.update(
                Document(
                    {key: value for key, value in base.items() if key != "extends"},
                    own,
                    document.path,
                )
            )
        document.data["base"] = below.data
        document.places = {
            loc: place for loc, place in document.places.items() if loc[:1] != ("base",)
        }
        document.places |= {("base", *loc): place for loc, place in below.places.items()}


def _existing(folder: Path, name: Any, where: str) -> Path:
    written = Path(where.rpartition(":")[0])  # a space may extend another one, in another folder
    is_file = exists(written) and written.is_file()
    path = (written.parent if is_file else folder) / expanded(str(name), where)
    if not exists(path):
        raise UserError(
            f"`base` names {name}, which does not exist",
            cure="give a path relative to this file",
            where=where,
        )
    return path


def _lay(document: Document, text: str) -> None:
    """A setting over the document: of a space's own field, or in short of the base
    (`model.width=32`).
    """
    given = setting(text)
    [place] = given.places.values()
    first = next(iter(given.data))
    if first == "search":
        paths = dict(_flat(given.data["search"], ()))
        search = document.data.get("search")
        for path, value in paths.items():
            kept = search.get(path) if isinstance(search, dict) else None
            if (
                isinstance(kept, dict)
                and isinstance(value, dict)
                and value.keys() & KINDS
                and value.keys() & KINDS != kept.keys() & KINDS
            ):
                del document.data["search"][path]  # another distribution, not a change of this one
        places: dict[Loc, str] = {("search", path): place for path in paths}
        places |= {
            ("search", path, key): place
            for path, value in paths.items()
            if isinstance(value, dict)
            for key in value
        }
        given = Document({"search": paths}, places, place)
    elif first not in Space.model_fields:
        given = Document(
            {"base": given.data}, {("base", *loc): place for loc in given.places}, place
        )
    elif ("objectives",) in given.places:
        document.data.pop("objectives", None)
    document.update(given)


def _flat(value: Any, above: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    """`{optim: {lr: {float: [1, 2]}}}` -> `optim.lr`, `{float: [1, 2]}`: the keys of `search` are
    paths themselves.
    """
    known = {key for kind in (Float, Int, Choice) for key in kind.keys} | {"when"}
    if not isinstance(value, dict) or (above and value.keys() <= known):
        yield ".".join(above), value
    else:
        for key, inner in value.items():
            yield from _flat(inner, (*above, key))


def _checked(document: Document) -> Space:
    _check_keys(document)
    _check_base(document)
    try:
        space = Space.model_validate(document.data)
    except ValidationError as error:
        raise explained(error, document, Space) from error
    try:
        _check_paths(space, document)
        check_conditions(space.search)
    except AxisError as error:
        place = document.place(("search", error.path))
        raise error.at(place, about=f"the searched path `{error.path}`: ") from error
    check_sampler(space, document)
    experiment, inner = experiment_of(space, document)
    check_objectives(space, experiment, document)
    for path, given in space.search.items():
        for value in _ends(given):
            _check_value(space, inner, path, value)
    return space


def _check_keys(document: Document) -> None:
    for key in document.data:
        if key not in Space.model_fields:
            cure = nearest(key, list(Space.model_fields))
            raise UserError(f"a space has no `{key}`", cure=cure, where=document.place((key,)))
    for key, form in _FORMS.items():
        if key not in document.data:
            raise UserError(
                f"a space has `{key}`, and this one has none",
                cure=f"write `{form}`",
                where=document.path,
            )


def _check_base(document: Document) -> None:
    base = document.data["base"]
    if not isinstance(base, dict):
        cure = f"write `{_FORMS['base']}`, or the path of a spec"
        raise UserError("`base` is no experiment", cure=cure, where=document.place(("base",)))
    for key in _NOT_IN_A_BASE:
        if key in base:
            cure = "leave it out; what varies stands under `search`"
            raise UserError(
                f"`base` has `{key}`, and a space searches one trial at a time",
                cure=cure,
                where=document.place(("base", key)),
            )


def _check_paths(space: Space, document: Document) -> None:
    for path, given in space.search.items():
        if not fields_at(path):
            what = f"the searched path `{path}` is no path of a trial"
            raise UserError(
                what, cure=nearest(path, paths_below()), where=document.place(("search", path))
            )
        for other in given.when:
            if not fields_at(other):
                where = document.place(("search", path, "when", other))
                what = f"the condition of `{path}` is on `{other}`, which is no path of a trial"
                raise UserError(what, cure=nearest(other, list(space.search)), where=where)


def _ends(given: Distribution) -> tuple[Any, ...]:
    assert isinstance(given, Choice | Float | Int)
    return given.choice if isinstance(given, Choice) else given.ends


def _check_value(space: Space, document: Document, path: str, value: Any) -> None:
    """Raises UserError where no experiment has this value, whatever the other paths have."""
    try:
        _valid(space, document, {path: value})
    except UserError as error:
        where = document.place(("axes", path))
        raise UserError(
            f"no trial has `{path}: {value}`: {error.what}", cure=error.cure, where=where
        ) from error


def _valid(space: Space, document: Document, fixed: Point) -> Experiment:
    """The experiment at the first point that is one: first values are tried, then random ones.

    Raises the first point's UserError.
    """
    faults: list[UserError] = []
    for attempt in range(TRIES):
        point = _point(space, fixed, random.Random(attempt) if attempt else None)
        try:
            data = laid(document.data, point)
            return Experiment.model_validate(data)
        except AxisError as error:
            place = document.place(("axes", error.path))
            faults.append(error.at(place, about=f"the searched path `{error.path}` "))
        except ValidationError as error:
            faults.append(
                explained(
                    error,
                    Document(laid(document.data, point), document.places, document.path),
                    Experiment,
                )
            )
    raise faults[0]


def _point(space: Space, fixed: Point, order: random.Random | None) -> Point:
    """A point with these values: the first of every other path, or random ones."""
    allowed = {path: [value] for path, value in fixed.items()}
    for path in fixed:
        allowed |= demands(path, space.search)

    def choose(path: str, given: Distribution) -> Any:
        values = allowed.get(path) or _ends(given)
        return values[0] if order is None else order.choice(list(values))

    return settled(space.search, choose)
