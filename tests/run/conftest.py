"""Plans, stores and a Ray session for the tests of the driver."""

from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest

from scalelab.plan.plan import Plan, compile_plan
from scalelab.run.driver import Options
from scalelab.run.executors.base import Job
from scalelab.run.executors.ray import ray_cluster
from scalelab.spec.execution import Execution
from scalelab.spec.load import load
from scalelab.store import open_store
from scalelab.store.store import Store

GRID = """
name: small
budget: {steps: 10}
axes:
  model.width: [4, 8]
replicates: 2
"""


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., Plan]:
    """Compiles a spec, by default one of four trials."""

    def make(text: str = GRID) -> Plan:
        path = tmp_path / "spec.yaml"
        path.write_text(text)
        return compile_plan(*load(path))

    return make


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with open_store(tmp_path / "store.db", mode="write") as opened:
        yield opened


@pytest.fixture
def inline() -> Options:
    return Options(executor="inline", stream=StringIO())


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """Ray with two slots, started once for all tests."""
    with ray_cluster(Job(Execution(), jobs=2)):
        yield


@pytest.fixture(params=["inline", "ray"])
def executor(request: pytest.FixtureRequest) -> str:
    """Every executor goes through the same tests."""
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return request.param
