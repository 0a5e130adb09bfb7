"""What a spec path means: the field's docstring, type and default, from the spec classes
themselves.
"""

from collections.abc import Iterator
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scalelab.spec.experiment import Experiment, Trial


def classes_in(annotation: Any) -> list[type[BaseModel]]:
    """The spec classes that an annotation allows."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    if get_origin(annotation) in (Union, UnionType, Annotated):
        return [found for part in get_args(annotation) for found in classes_in(part)]
    return []


def walk(root: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel], FieldInfo]]:
    """Every path below a spec class, with the class that owns the field and the field."""
    for name, field in root.model_fields.items():
        yield name, root, field
        for child in classes_in(field.annotation):
            yield from ((f"{name}.{path}", owner, below) for path, owner, below in walk(child))


@cache
def paths_below(root: type[BaseModel] = Trial) -> list[str]:
    """Every path of a trial (or of another spec class)."""
    return list(dict.fromkeys(path for path, _, _ in walk(root)))


def fields_at(path: str, root: type[BaseModel] = Trial) -> list[tuple[type[BaseModel], FieldInfo]]:
    """The fields that a path names: several where kinds share a key, none where it does
    not exist.
    """
    return _fields(root).get(path, [])


@cache
def _fields(root: type[BaseModel]) -> dict[str, list[tuple[type[BaseModel], FieldInfo]]]:
    found: dict[str, list[tuple[type[BaseModel], FieldInfo]]] = {}
    for path, owner, field in walk(root):
        found.setdefault(path, []).append((owner, field))
    return found


def schema() -> dict[str, Any]:
    """The JSON schema of a spec file, for editors."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **Experiment.model_json_schema(),
    }


def describe(path: str, root: type[BaseModel] = Experiment) -> list[dict[str, str | None]]:
    """What a path and the fields right below it mean; empty where there is no such path.

    `""` is the whole spec.
    """
    depth = path.count(".") + 1 if path else 0
    return [
        {
            "path": known,
            "type": _type_name(field.annotation),
            "default": _default(field),
            "help": field.description or (owner.__doc__ or ""),
        }
        for known, owner, field in walk(root)
        if known == path
        or ((not path or known.startswith(f"{path}.")) and known.count(".") == depth)
    ]


def _type_name(annotation: Any) -> str:
    kinds = classes_in(annotation)
    if kinds:
        return " | ".join(_kind(kind) for kind in kinds) + (
            " | null" if type(None) in get_args(annotation) else ""
        )
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(_type_name(part) for part in get_args(annotation))
    if get_origin(annotation) is Annotated:
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) is tuple and get_args(annotation)[-1] is Ellipsis:
        return f"list of {_type_name(get_args(annotation)[0])}"
    if get_origin(annotation) is dict:
        return f"mapping of names to {_type_name(get_args(annotation)[1])}"
    if get_args(annotation):
        words = [
            repr(part) if isinstance(part, str) else _type_name(part)
            for part in get_args(annotation)
        ]
        return (
            " | ".join(words)
            if get_origin(annotation) is Literal
            else f"{get_origin(annotation).__name__} of {', '.join(dict.fromkeys(words))}"
        )
    names = {
        int: "whole number",
        float: "number",
        str: "text",
        bool: "true | false",
        type(None): "null",
        Any: "anything",
    }
    return names.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _kind(spec: type[BaseModel]) -> str:
    kind = spec.model_fields.get("kind")
    return (
        f"{{kind: {kind.default}}}"
        if kind is not None and isinstance(kind.default, str)
        else f"{{{', '.join(spec.model_fields)}}}"
    )


def _default(field: FieldInfo) -> str | None:
    if field.is_required():
        return None
    if isinstance(field.default, BaseModel):
        return str(getattr(field.default, "kind", "defaults"))
    return "null" if field.default is None else str(field.default)
