"""The frozen store in a folder of its own, and `--freeze`, which writes what is expected anew."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import Command, command
from tests.frozen.frozen import CLOSE, HERE, TRAINED, check, masked

__all__ = ["command"]

Frozen = Callable[..., None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--freeze", action="store_true", help="Write tests/frozen/expected anew.")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--freeze", default=False):
        config.option.markexpr = ""  # the slow ones too


@pytest.fixture
def freeze(request: pytest.FixtureRequest) -> bool:
    """Whether to write what is expected instead of comparing with it."""
    return bool(request.config.getoption("--freeze", default=False))


@pytest.fixture
def scalelab(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """The command in a folder with a copy of the frozen store, its models, specs and tables."""
    shutil.copyfile(HERE / "store.db", tmp_path / "store.db")
    for name in ("trials", "specs", "tables"):
        shutil.copytree(HERE / name, tmp_path / name)
    monkeypatch.setenv("SCALELAB_STORE", "store.db")
    return command


@pytest.fixture(scope="session")
def digests() -> Mapping[str, str]:
    """`EXPERIMENT/POSITION` -> digest, of the first seeds in the frozen store."""
    with closing(sqlite3.connect(f"file:{HERE / 'store.db'}?mode=ro", uri=True)) as store:
        found = store.execute(
            "SELECT experiment, digest FROM memberships JOIN trials ON trials.id ="
            " memberships.trial WHERE replicate = 0 ORDER BY experiment, position"
        ).fetchall()
    count: dict[str, int] = {}
    named = {}
    for experiment, digest in found:
        count[experiment] = count.get(experiment, -1) + 1
        named[f"{experiment}/{count[experiment]}"] = digest
    return named


@pytest.fixture
def frozen(scalelab: Command, freeze: bool, tmp_path: Path) -> Frozen:
    """Compares a command's exit code and its JSON with what is frozen under a name."""

    def compare(name: str, *arguments: str, fresh: bool = False) -> None:
        said = scalelab(*arguments, "--json")
        assert said.out, said.err
        answer: Any = masked(json.loads(said.out), fresh=fresh, folder=tmp_path)
        found = {"command": list(arguments), "code": said.code, "json": answer}
        check(name, found, freeze=freeze, tolerance=TRAINED if fresh else CLOSE)

    return compare
