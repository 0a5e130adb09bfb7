"""The locks hold what pyproject.toml asks for, pinned, and nothing that ties them to one machine;
the files that name the version agree.
"""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
RUN, TEST = "requirements.lock", "requirements-test.lock"


def pins(lock: str) -> dict[str, Requirement]:
    """Name -> pinned requirement."""
    lines = [
        line for line in (ROOT / lock).read_text().splitlines() if line and not line.startswith("#")
    ]
    return {canonicalize_name(pin.name): pin for pin in map(Requirement, lines)}


def version(pin: Requirement) -> str:
    return str(pin.specifier).removeprefix("==")


@pytest.mark.parametrize("lock", [RUN, TEST])
def test_every_line_is_an_exact_pin(lock: str):
    for pin in pins(lock).values():
        assert re.fullmatch(r"==[^*,]+", str(pin.specifier)), pin
        assert pin.url is None


@pytest.mark.parametrize("lock", [RUN, TEST])
def test_a_lock_names_no_host_path_or_hash(lock: str):
    text = (ROOT / lock).read_text()
    assert not re.search(r"://|--|sha256|@ |^[./]", text, re.MULTILINE)


@pytest.mark.parametrize("lock", [RUN, TEST])
def test_the_lock_leaves_the_build_of_torch_to_the_machine(lock: str):
    assert str(pins(lock)["torch"]) == "torch==2.13.0"
    assert not [name for name in pins(lock) if name.startswith(("nvidia", "cuda", "triton"))]


@pytest.mark.parametrize(
    ("lock", "asked"),
    [
        (RUN, PROJECT["project"]["dependencies"]),
        (TEST, PROJECT["project"]["dependencies"] + PROJECT["dependency-groups"]["test"]),
        (TEST, PROJECT["project"]["optional-dependencies"]["postgres"]),
        (TEST, PROJECT["project"]["optional-dependencies"]["streaming"]),
    ],
    ids=["run", "test", "postgres", "streaming"],
)
def test_the_lock_holds_what_the_project_asks_for(lock: str, asked: list[str]):
    pinned = pins(lock)
    for requirement in map(Requirement, asked):
        assert requirement.specifier.contains(
            version(pinned[canonicalize_name(requirement.name)])
        ), requirement


def test_tests_run_on_the_versions_that_users_get():
    tested = pins(TEST)
    assert {name: pin for name, pin in pins(RUN).items() if str(tested.get(name)) != str(pin)} == {}


def test_the_version_is_the_same_everywhere():
    current = PROJECT["project"]["version"]
    citation = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    released = re.search(
        r"^## \[(\d.*?)\] - (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE
    )
    assert citation is not None
    assert released is not None
    assert citation[1] == released[1] == current
    assert f"date-released: {released[2]}\n" in (ROOT / "CITATION.cff").read_text()
