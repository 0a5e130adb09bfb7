"""A store knows from which file an experiment comes."""

import shutil
from pathlib import Path

import pytest
from tests.store.conftest import NewPlace, record

from scalelab.store import open_store

SPEC, OTHER = {"name": "x"}, {"name": "x", "about": "other"}


@pytest.fixture
def lab(tmp_path: Path) -> Path:
    """A checkout with two specs, and a store in which the one was run."""
    specs = tmp_path / "lab/specs"
    specs.mkdir(parents=True)
    for name in ("a.yaml", "b.yaml"):
        (specs / name).touch()
    with open_store(tmp_path / "lab/results/x.db", mode="write") as store:
        store.register("x", SPEC, [record(1)], specs / "a.yaml")
    return tmp_path / "lab"


def other_source(lab: Path, name: str, spec: dict[str, str] = OTHER) -> str | None:
    with open_store(lab / "results/x.db", mode="read") as store:
        return store.other_source("x", lab / "specs" / name, spec)


def test_another_file_with_another_spec_is_another_source(lab: Path) -> None:
    a = lab / "specs/a.yaml"
    (lab / "link.yaml").symlink_to(a)
    assert other_source(lab, "b.yaml") == str(a)
    assert other_source(lab, "b.yaml", SPEC) is None
    assert other_source(lab, "b.yaml", {"name": "x", "objectives": "loss"}) is None
    assert [other_source(lab, name) for name in ("a.yaml", "../specs/a.yaml", "../link.yaml")] == [
        None
    ] * 3
    a.unlink()
    assert other_source(lab, "b.yaml") is None, "it was renamed"


def test_a_copy_becomes_the_source_once_it_is_edited_and_not_before(lab: Path) -> None:
    a, b = lab / "specs/a.yaml", lab / "specs/b.yaml"

    def run(file: Path, spec: dict[str, str]) -> None:
        with open_store(lab / "results/x.db", mode="write") as store:
            store.register("x", spec, [record(1)], file)

    run(b, SPEC)
    assert other_source(lab, "b.yaml") == str(a)
    run(b, OTHER)
    assert other_source(lab, "b.yaml", SPEC) is None
    assert other_source(lab, "a.yaml", SPEC) == str(b)
    b.rename(lab / "specs/c.yaml")
    run(lab / "specs/c.yaml", OTHER)
    assert other_source(lab, "c.yaml", SPEC) is None
    assert other_source(lab, "a.yaml", SPEC) == str(lab / "specs/c.yaml")


def test_a_checkout_may_be_moved_and_copied_with_its_store(lab: Path) -> None:
    copy = lab.with_name("copy")
    shutil.copytree(lab, copy)
    assert other_source(copy, "a.yaml") is None
    assert other_source(copy, "b.yaml") == str(copy / "specs/a.yaml")
    lab.rename(lab.with_name("moved"))
    assert other_source(lab.with_name("moved"), "a.yaml") is None


def test_paths_on_a_server_may_be_those_of_another_machine(new_database: NewPlace) -> None:
    with open_store(new_database(), mode="write") as store:
        store.register("x", SPEC, [record(1)], "/home/ada/x.yaml")
        assert store.other_source("x", "/home/ada/x.yaml", OTHER) is None
        assert store.other_source("x", "/home/bob/x.yaml", OTHER) == "/home/ada/x.yaml"
        store.register("x", SPEC, [record(1)], "/home/bob/x.yaml")
        assert store.other_source("x", "/home/bob/x.yaml", OTHER) == "/home/ada/x.yaml"
        space = {"name": "y", "objectives": {}}
        store.open_experiment("y", space, file="/home/ada/y.yaml")
        other = space | {"trials": 4}
        assert store.other_source("y", "/home/bob/y.yaml", other) == "/home/ada/y.yaml"
        assert store.other_source("z", "/home/bob/y.yaml", OTHER) is None
