"""The command line, plans and a PostgreSQL server, for tests that break what a run stands on."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.cli.conftest import command
from tests.run.conftest import inline, make_plan
from tests.store.conftest import idle_databases, new_database, postgres_server

__all__ = ["command", "idle_databases", "inline", "make_plan", "new_database", "postgres_server"]


@pytest.fixture(scope="session")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Compiles a file of this folder into a library that a process may load before libc."""
    compiler = shutil.which("cc")
    if sys.platform != "linux" or compiler is None:
        pytest.skip("needs Linux and a C compiler")

    def compiled(name: str) -> Path:
        library = tmp_path_factory.getbasetemp() / f"{name}.so"
        source = Path(__file__).with_name(name)
        subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source, "-ldl"], check=True)
        return library

    return compiled
