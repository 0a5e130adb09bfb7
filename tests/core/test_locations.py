import pwd
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from scalelab.core.errors import UserError
from scalelab.core.locations import expanded, expanded_path


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
