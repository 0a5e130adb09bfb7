import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalelab.core.errors import UserError
from scalelab.core.locations import (
    child,
    embedded_text,
    expanded,
    expanded_path,
    is_embedded,
    is_missing,
    is_url,
    local_path,
    split,
)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RUNS", "/data/runs")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.delenv("NOWHERE", raising=False)
    return tmp_path


@pytest.mark.parametrize(
    ("written", "wanted"),
    [
        ("results/x.db", "results/x.db"),
        ("$RUNS/x.db", "/data/runs/x.db"),
        ("${RUNS}2/x.db", "/data/runs2/x.db"),
        ("a/$EMPTY/b", "a//b"),
        ("a$$b", "a$b"),
        ("cost$", "cost$"),
        ("a/~/b", "a/~/b"),
        ("./~", "./~"),
        ("", ""),
        ("s3://bucket/$RUNS/~", "s3://bucket/$RUNS/~"),
        ("postgresql://me:pa$$word@host/runs", "postgresql://me:pa$$word@host/runs"),
        ("data:text/plain,$RUNS", "data:text/plain,$RUNS"),
    ],
)
def test_variables_are_expanded_in_paths_and_not_in_urls(written: str, wanted: str) -> None:
    assert expanded(written) == wanted


def test_a_tilde_is_a_home_folder(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert expanded("~") == str(home)
    assert expanded("~/x.db") == f"{home}/x.db"
    assert expanded_path(Path("~/x.db")) == home / "x.db"
    owner = pwd.getpwuid(0)
    assert expanded(f"~{owner.pw_name}/x.db") == f"{owner.pw_dir.rstrip('/')}/x.db"
    monkeypatch.setenv("RUNS", "~/runs")
    assert expanded("$RUNS/x.db") == f"{home}/runs/x.db"
    monkeypatch.setenv("HOME", "/")
    assert expanded("~") == "/"
    assert expanded("~/x.db") == "/x.db"


@pytest.mark.parametrize("value", ["", ".", "me", "~"])
def test_a_home_folder_without_a_whole_path_is_refused(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", value)
    with pytest.raises(UserError, match=r"~/x\.db.*HOME"):
        expanded("~/x.db")
    assert expanded(f"~{pwd.getpwuid(0).pw_name}/x.db").startswith("/")


@pytest.mark.parametrize(
    ("written", "named"),
    [
        ("$NOWHERE/x.db", r"\$NOWHERE"),
        ("a/${NOWHERE}", r"\$NOWHERE"),
        ("${}", "not set"),
        ("~nobody-of-that-name/x.db", "nobody-of-that-name"),
        ("~\udcff/x", r"\\xff"),
        ("a\0b", r"\\x00"),
        ("caf\udce9.txt", r"\\xe9"),
        ("x" * 256, "too long"),
        ("x/" * 2048, "too long"),
        ("~\0", "home"),
    ],
)
def test_what_is_no_path_is_refused_by_name(written: str, named: str) -> None:
    with pytest.raises(UserError, match=named) as raised:
        expanded(written)
    str(raised.value).encode()


@given(some.text(some.characters(), max_size=40))
def test_any_text_is_a_path_or_refused(written: str) -> None:
    try:
        Path(expanded(written)).exists()
    except UserError as error:
        str(error).encode()


@pytest.mark.parametrize(
    ("place", "url", "here"),
    [
        ("results/x.db", False, "results/x.db"),
        ("C:/x", False, "C:/x"),
        ("s3://bucket/x", True, None),
        ("postgresql://me@host/runs", True, None),
        ("file:///data/x", True, "/data/x"),
        ("data:text/plain,x", True, None),
    ],
)
def test_a_place_is_a_path_or_a_url(place: str, url: bool, here: str | None) -> None:
    assert is_url(place) is url
    assert local_path(place) == here


def test_only_a_path_can_be_missing(home: Path) -> None:
    assert is_missing(str(home / "x.db"))
    assert not is_missing(str(home))
    assert not is_missing("s3://bucket/x.db")


@pytest.mark.parametrize(
    ("folder", "place"),
    [("a", "a/m.pt"), ("/", "/m.pt"), ("s3://b/c", "s3://b/c/m.pt"), (".", "./m.pt")],
)
def test_a_child_lies_in_its_folder(folder: str, place: str) -> None:
    assert child(folder, "m.pt") == place
    assert child(f"{folder}/", "m.pt") == place
    assert split(place) == (folder, "m.pt")


def test_a_name_alone_lies_in_the_current_folder() -> None:
    assert split("m.pt") == (".", "m.pt")


def test_a_text_may_be_its_own_place() -> None:
    place = "data:text/plain,one%2C%20two"
    assert is_embedded(place)
    assert not is_embedded("/data:x")
    assert embedded_text(place) == "one, two"
