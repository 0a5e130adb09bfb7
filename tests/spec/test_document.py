"""YAML means what its 1.2 core schema says, each value has its place, and what is made to hurt is
refused at once.
"""

import os
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scalelab.core.errors import UserError
from scalelab.spec.document import DEEPEST, LARGEST, MOST, dump, parse, parse_value


def read(folder: Path, text: str) -> tuple[dict[str, Any], dict[tuple[str | int, ...], int]]:
    """The data of a text, and the line of each value."""
    path = folder / "spec.yaml"
    path.write_text(text)
    document = parse(path)
    lines = {loc: int(place.rpartition(":")[2]) for loc, place in document.places.items()}
    return document.data, lines


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("010", 10),
        ("-010", -10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1e-3", 1e-3),
        ("1.", 1.0),
        (".5", 0.5),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("190:20:30", "190:20:30"),
        ("2024-11-03", "2024-11-03"),
        ("2001-12-14t21:59:43.10-05:00", "2001-12-14t21:59:43.10-05:00"),
        ("no", "no"),
        ("Off", "Off"),
        ("y", "y"),
        ("True", True),
        ("FALSE", False),
        ("tRUE", "tRUE"),
        ("~", None),
        ("Null", None),
        ("", ""),
        (".inf", float("inf")),
        ("-.INF", float("-inf")),
        ("inf", "inf"),
        ("1e999", "1e999"),
        ("9" * 5000, "9" * 5000),
        ("!!str 010", "010"),
        ("'010'", "010"),
        ("!!float 1", 1.0),
        ("0b11", "0b11"),
        ("=", "="),
        ("[010, no]", [10, "no"]),
    ],
)
def test_scalars_are_read_by_the_core_schema(text: str, value: object) -> None:
    found = parse_value(text or "''", "here")
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    "text",
    [
        "!!bool solve",
        "!!timestamp x",
        "!!timestamp 2024-11-03",
        "!!binary aGk=",
        "!!python/name:os.system x",
        "!!python/object:os.x {}",
        "!!set {a}",
        "!!omap [a: 1]",
        "!!str [1]",
        "!!int 1.5",
        "!own x",
        "! 8",
    ],
)
def test_other_tags_are_refused_with_their_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(UserError, match=r"spec\.yaml:2: the tag `!"):
        read(tmp_path, f"name: x\nbatch: {text}\n")


def test_merge_keys_lie_under_own_keys_and_keep_their_lines(tmp_path: Path) -> None:
    data, lines = read(
        tmp_path,
        """\
base: &base
  lr: 1
  eps: 2
other: &other {eps: 3, clip: 4}
one:
  <<: *base
  lr: 5
both: {<<: [*other, *base], decay: 6}
nested: {<<: {<<: *base, eps: 7}}
""",
    )
    assert data["one"] == {"lr": 5, "eps": 2}
    assert data["both"] == {"lr": 1, "eps": 3, "clip": 4, "decay": 6}
    assert data["nested"] == {"lr": 1, "eps": 7}
    assert (lines["one", "lr"], lines["one", "eps"], lines["both", "eps"]) == (7, 3, 4)
    assert (lines["nested", "lr"], lines["nested", "eps"]) == (2, 9)


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        ("a: &a {b: 1}\nc:\n  <<: *a\n  <<: *a\n", 4, "twice"),
        ("a: 1\nb: 2\na: 3\n", 3, "twice"),
        ("a: &a {b: 1}\nc: {<<: *a, d: 1, d: 2}\n", 2, "`d` stands there twice"),
        ("a: 1\nb: {<<: 5}\n", 2, "merges what is no mapping"),
        ("a: 1\nb: {<<: [1]}\n", 2, "merges what is no mapping"),
        ("a: 1\nb: &b [*b]\n", 2, "in a circle"),
        ("a: 1\nb: *c\n", 2, r"\*c"),
        ("a: 1\n? [b]\n: 1\n", 2, "a key is"),
        ("a: 1\n---\nb: 2\n", 2, "second document"),
        ("a: 1\nb: [1\n", 2, "is not YAML"),
        ("a: 1\nb: \x1b\n", 2, "control character"),
    ],
)
def test_what_cannot_be_read_has_its_line(tmp_path: Path, text: str, line: int, words: str) -> None:
    with pytest.raises(UserError, match=rf"spec\.yaml:{line}: .*{words}"):
        read(tmp_path, text)


def laughs(depth: int) -> str:
    rows = [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, depth)]
    return "a0: &a0 [x, x, x]\n" + "".join(rows)


def merges(depth: int) -> str:
    rows = [f"a{i}: &a{i} {{<<: *a{i - 1}, k{i}: 1}}\n" for i in range(1, depth)]
    return "a0: &a0 {k: 1}\n" + "".join(rows)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (laughs(30), f"{MOST:,} values"),
        (merges(10_000), f"{MOST:,} values"),
        ("a: [" + "x, " * MOST + "x]", f"{MOST:,} values"),
        ("a: " + "[" * 400_000, f"{DEEPEST} deep"),
        ("a: " + "{b: " * 200_000, f"{DEEPEST} deep"),
        ("".join(" " * i + "a:\n" for i in range(1000)), f"{DEEPEST} deep"),
        (
            "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 5000)),
            f"{DEEPEST} deep",
        ),
        ("a: '" + "x" * LARGEST + "'", f"{LARGEST:,} bytes"),
    ],
    ids=["laughs", "merges", "long", "lists", "mappings", "block", "aliases", "large"],
)
def test_what_is_made_to_hurt_is_refused_at_once(tmp_path: Path, text: str, words: str) -> None:
    began = perf_counter()
    with pytest.raises(UserError, match=words):
        read(tmp_path, text)
    assert perf_counter() - began < 3


def test_many_keys_are_read(tmp_path: Path) -> None:
    data, lines = read(tmp_path, "".join(f"k{i}: {i}\n" for i in range(10_000)))
    assert len(data) == 10_000
    assert (data["k9999"], lines["k9999",]) == (9999, 10_000)


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path, tmp_path / "pipe", Path("a\0b"), Path("x" * 300)):
        with pytest.raises(UserError, match="cannot be read"):
            parse(path)


PLAIN = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["C"]))
    | st.from_regex(r"[-+]?0?[ox.:_0-9]{1,6}(e[-+]?[0-9]{1,3})?", fullmatch=True)
    | st.sampled_from(["no", "null", "<<", "2024-11-03", "1e3", "12345e67", "0o10", "010", ".inf"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab1.", max_size=3), inner),
    max_leaves=8,
)


@given(PLAIN)
def test_what_is_written_reads_as_the_same(data: object) -> None:
    found = parse_value(dump({"data": data}), "here")["data"]
    assert found == data
    assert repr(found) == repr(data)
