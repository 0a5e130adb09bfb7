"""YAML as plain data, with the place (`file:line`) of each value.

Scalars are read by the core schema of YAML 1.2: `010` is ten, `0o10` is eight, and `no`, `1:30` and
`2024-11-03` are text. Merge keys (`<<: *base`) are read too. What a file may hold is bounded, and
checked before the data are built.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from math import isinf
from pathlib import Path
from typing import Any

import yaml
from yaml.reader import Reader

from scalelab.core.errors import UserError, reason
from scalelab.spec.budget import LENGTHS

LARGEST = 1_000_000
"""Bytes of a file."""

DEEPEST = 50
"""Mappings and lists inside one another."""

MOST = 50_000
"""Values of a file, what aliases and merge keys repeat counted each time."""

Loc = tuple[str | int, ...]
"""The keys and indices that lead to a value."""

Place = Callable[[int], str]
"""A line, from 0 -> the place that an error names."""


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


def parse(path: Path) -> Document:
    """One YAML mapping and the line of each of its values. Raises UserError."""
    text = _text(path)

    @cache
    def place(line: int) -> str:
        return f"{path}:{line + 1}"

    node = _composed(text, place)
    if node is None:
        raise UserError(
            "is empty", cure="write a mapping of keys to values, `name: ...`", where=str(path)
        )
    if not isinstance(node.content, dict):
        raise UserError(
            "is not a mapping of keys to values",
            cure="write it as `name: ...` on lines of its own",
            where=place(node.line),
        )
    places: dict[Loc, str] = {}
    return Document(_Builder(place, places).built(node, ()), places, str(path))


def parse_value(text: str, place: str) -> Any:
    """The value of a piece of YAML, such as that of `--set`. Raises UserError at this place."""
    node = _composed(text, lambda line: place)
    return None if node is None else _Builder(lambda line: place, {}).built(node, ())


def dump(data: Any, **layout: Any) -> str:
    """Plain data as YAML that `parse` reads as the same data; `layout` is that of `yaml.dump`."""
    return yaml.dump(data, Dumper=_Dumper, sort_keys=False, **layout)


def exists(path: Path) -> bool:
    """Whether there is anything at a path; a name that is too long or has a NUL byte is nowhere."""
    try:
        path.stat()
    except (OSError, ValueError):
        return False
    return True


def regular(path: Path) -> os.stat_result:
    """The status of a regular file: a device or a pipe might never end, or never begin.

    Raises OSError, or ValueError for a NUL byte in the path.
    """
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(0, "it is no regular file")
    return status


def _text(path: Path) -> str:
    """The text of a regular file of a bounded size."""
    try:
        status = regular(path)
        content = path.read_bytes() if status.st_size <= LARGEST else b""
    except (OSError, ValueError) as error:  # ValueError: a NUL byte in the path
        fault = reason(error) if isinstance(error, OSError) else error
        raise UserError(
            f"cannot be read: {fault}",
            cure="give the path of an existing YAML file",
            where=str(path),
        ) from error
    if status.st_size > LARGEST:
        raise UserError(
            f"has {status.st_size:,} bytes, and YAML of at most {LARGEST:,} bytes is read",
            cure="give the path of a smaller YAML file",
            where=str(path),
        )
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            "is not text, so it is no YAML", cure="give the path of a YAML file", where=str(path)
        ) from error


@dataclass(slots=True)
class _Node:
    """A value as it is written; the same node wherever an alias repeats it."""

    line: int
    content: Any
    """Of a scalar its value; `list[_Node]`; or key -> `_Entry`."""
    text: str | None = None
    """Of a scalar its text."""


@dataclass(slots=True)
class _Entry:
    line: int
    """Where the key is written."""
    node: _Node


def _composed(text: str, place: Place) -> _Node | None:
    """The nodes of one YAML document; None where it is empty. Raises UserError."""
    if unprintable := Reader.NON_PRINTABLE.search(text):
        raise UserError(
            f"is not YAML: it has the control character {unprintable[0]!r}",
            cure="delete it there",
            where=place(text.count("\n", 0, unprintable.start())),
        )
    try:
        return _Composer(yaml.parse(text, Loader=_Parser), place).document()
    except yaml.MarkedYAMLError as error:
        # What is missing at the end is missing on the last line that has any text.
        last = text.rstrip().count("\n")
        line = min(error.problem_mark.line, last) if error.problem_mark else 0
        raise UserError(
            f"is not YAML: {error.problem}", cure="mend the syntax there", where=place(line)
        ) from error


_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's parser where PyYAML was built with it: ten times as fast."""


class _Composer:
    """Events to nodes, by an explicit walk: tags, anchors and depth are seen before anything is
    built from them.
    """

    def __init__(self, events: Iterator[yaml.Event], place: Place) -> None:
        self._events, self._place = events, place
        self._anchors: dict[str, _Node | None] = {}
        """None while the anchored value is still being read."""
        self._nodes = 0

    def document(self) -> _Node | None:
        node = None
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent) and node is not None:
                raise self._refused(event, "a second document begins (`---`)", "keep one of them")
            if isinstance(event, yaml.NodeEvent):
                node = self._node(event, 0)
        return node

    def _node(self, event: yaml.Event, depth: int) -> _Node:
        self._nodes += 1
        _check(depth, self._nodes, event.start_mark.line, self._place)
        if isinstance(event, yaml.AliasEvent):
            return self._repeated(event)
        assert isinstance(
            event, yaml.ScalarEvent | yaml.SequenceStartEvent | yaml.MappingStartEvent
        )
        if event.anchor:
            self._anchors[event.anchor] = None
        if isinstance(event, yaml.ScalarEvent):
            node = self._scalar(event)
        elif isinstance(event, yaml.SequenceStartEvent):
            node = self._sequence(event, depth)
        else:
            node = self._mapping(event, depth)
        if event.anchor:
            self._anchors[event.anchor] = node
        return node

    def _repeated(self, event: yaml.AliasEvent) -> _Node:
        if event.anchor not in self._anchors:
            raise self._refused(
                event,
                f"the alias `*{event.anchor}` repeats what is not written before it",
                f"write `&{event.anchor}` in front of a value above",
            )
        node = self._anchors[event.anchor]
        if node is None:
            raise self._refused(
                event,
                f"goes in a circle: the alias `*{event.anchor}` stands inside what it names",
                "write it out",
            )
        return node

    def _scalar(self, event: yaml.ScalarEvent) -> _Node:
        if event.tag is None:
            value = core(event.value) if event.implicit[0] else event.value
        else:  # names its type: `!!str 010` is text
            value = event.value if event.tag == f"{_TAG}str" else core(event.value)
            if event.tag == f"{_TAG}float" and type(value) is int:
                value = float(value)
            elif type(value) is not _TYPES.get(event.tag):
                raise self._untagged(event, event.tag)
        return _Node(event.start_mark.line, value, event.value)

    def _sequence(self, event: yaml.SequenceStartEvent, depth: int) -> _Node:
        if event.tag not in (None, f"{_TAG}seq"):
            raise self._untagged(event, event.tag)
        node = _Node(event.start_mark.line, [])
        while not isinstance(inner := next(self._events), yaml.SequenceEndEvent):
            node.content.append(self._node(inner, depth + 1))
        return node

    def _mapping(self, event: yaml.MappingStartEvent, depth: int) -> _Node:
        if event.tag not in (None, f"{_TAG}map"):
            raise self._untagged(event, event.tag)
        own: dict[str, _Entry] = {}
        merged: _Node | None = None
        while not isinstance(inner := next(self._events), yaml.MappingEndEvent):
            key = self._node(inner, depth + 1).text
            if key is None:
                raise self._refused(inner, "a key is a mapping or a list", "write text as a key")
            is_merge = key == "<<" and isinstance(inner, yaml.ScalarEvent) and inner.implicit[0]
            if key in own or (is_merge and merged is not None):
                cure = "write `<<: [*one, *other]`" if is_merge else "keep one of them"
                raise self._refused(inner, f"the key `{key}` stands there twice", cure)
            value = self._node(next(self._events), depth + 1)
            if is_merge:
                merged = value
            else:
                own[key] = _Entry(inner.start_mark.line, value)
        return _Node(event.start_mark.line, own if merged is None else self._under(own, merged))

    def _under(self, own: dict[str, _Entry], merged: _Node) -> dict[str, _Entry]:
        """Keys of a mapping over those of one that is merged into it, or of several, of which the
        first wins.
        """
        below = merged.content if isinstance(merged.content, list) else [merged]
        found: dict[str, _Entry] = {}
        for node in reversed(below):
            if not isinstance(node.content, dict):
                raise UserError(
                    "`<<` merges what is no mapping",
                    cure="write `<<: *name` of a mapping, or a list of them",
                    where=self._place(merged.line),
                )
            self._nodes += len(node.content)
            _check(0, self._nodes, merged.line, self._place)
            found |= node.content
        return found | own

    def _untagged(self, event: yaml.Event, tag: str) -> UserError:
        short = tag.replace(_TAG, "!!")
        text = f" {event.value}" if isinstance(event, yaml.ScalarEvent) else ""
        return self._refused(
            event, f"the tag `{short}` does not fit `{short}{text}`", "leave the tag out"
        )

    def _refused(self, event: yaml.Event, what: str, cure: str) -> UserError:
        return UserError(what, cure=cure, where=self._place(event.start_mark.line))


class _Builder:
    """Nodes to data; the place of each value goes into `places`."""

    def __init__(self, place: Place, places: dict[Loc, str]) -> None:
        self._place, self._places = place, places
        self._values = 0

    def built(self, node: _Node, loc: Loc) -> Any:
        self._values += 1
        _check(len(loc), self._values, node.line, self._place)
        self._places.setdefault(loc, self._place(node.line))
        if isinstance(node.content, dict):
            found: dict[str, Any] = {}
            for key, entry in node.content.items():
                self._places[(*loc, key)] = self._place(entry.line)
                found[key] = self.built(entry.node, (*loc, key))
            return found
        if isinstance(node.content, list):
            return [self.built(inner, (*loc, index)) for index, inner in enumerate(node.content)]
        return node.content


def _check(depth: int, number: int, line: int, place: Place) -> None:
    if depth > DEEPEST:
        raise UserError(
            f"mappings and lists lie more than {DEEPEST} deep in one another",
            cure="write it flatter",
            where=place(line),
        )
    if number > MOST:
        raise UserError(
            f"there are more than {MOST:,} values, those counted that aliases repeat",
            cure="write less; a long axis is short as `{range: [from, to, step]}`",
            where=place(line),
        )


_TAG = "tag:yaml.org,2002:"
_TYPES = {
    f"{_TAG}{name}": kind
    for name, kind in (
        ("null", type(None)),
        ("bool", bool),
        ("int", int),
        ("float", float),
        ("str", str),
    )
}

_WORDS = {
    word: value
    for name, value in (("null", None), ("true", True), ("false", False))
    for word in (name, name.capitalize(), name.upper())
} | {"": None, "~": None}
_WHOLE = re.compile(r"[-+]?[0-9]+")
_BASED = re.compile(r"0(?:o[0-7]+|x[0-9a-fA-F]+)")
_FRACTION = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_NO_NUMBER = re.compile(r"[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)")
_DIGITS = 1_000
"""Digits of a number that is read; a longer one stays text, which no field takes for a number."""


def core(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2 (section 10.3.2). What does not fit into a
    float, such as `1e999`, stays text.
    """
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _DIGITS:
        return text
    if _WHOLE.fullmatch(text):
        return int(text)
    if _BASED.fullmatch(text):
        return int(text, 0)
    if _FRACTION.fullmatch(text):
        return text if isinf(float(text)) else float(text)
    if _NO_NUMBER.fullmatch(text):
        return float(text.replace(".", ""))
    return text


class _Dumper(yaml.SafeDumper):
    """Safe YAML that quotes what the core schema would not read as text."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


for _pattern in (_BASED, _FRACTION):
    _Dumper.add_implicit_resolver(
        f"{_TAG}float", re.compile(rf"^(?:{_pattern.pattern})$"), list("-+.0123456789")
    )
